package main

import (
	"context"
	"slices"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

const (
	KindInfo               = 13194
	KindRequest            = 23194
	KindResponse           = 23195
	KindNotificationNip04  = 23196
	KindNotification       = 23197
	KindDeletion           = nostr.KindDeletion
	AuthAll                = "all"      // whoever writes, and whoever reads what is encrypted
	AuthRequests           = "requests" // whoever reads requests: a service, but not its apps
	AuthNone               = "none"
	reasonAuthRequired     = "auth-required: show that this key is yours"
	reasonRestrictedFilter = "restricted: this is for other keys than those that authenticated"
	reasonRestrictedEvent  = "restricted: its author has not authenticated"
	reasonKind             = "blocked: only NIP-47 is carried here"
)

var carried = []int{
	KindInfo, KindRequest, KindResponse, KindNotificationNip04, KindNotification, KindDeletion,
}

type policy struct{ auth string }

// guarded are the kinds that only their author and their receiver may read.
func (rules policy) guarded() []int {
	switch rules.auth {
	case AuthAll:
		return []int{KindRequest, KindResponse, KindNotificationNip04, KindNotification}
	case AuthRequests:
		return []int{KindRequest}
	}
	return nil
}

func (rules policy) rejectEvent(ctx context.Context, event *nostr.Event) (bool, string) {
	if !slices.Contains(carried, event.Kind) {
		return true, reasonKind
	}
	if rules.auth != AuthAll {
		return false, ""
	}
	return refusal(guestOf(khatru.GetConnection(ctx)), []string{event.PubKey}, reasonRestrictedEvent)
}

// rejectFilter wants every receiver that a filter names to have authenticated, or every author.
func (rules policy) rejectFilter(ctx context.Context, filter nostr.Filter) (bool, string) {
	reads := func(kind int) bool {
		return len(filter.Kinds) == 0 || slices.Contains(filter.Kinds, kind)
	}
	if !slices.ContainsFunc(rules.guarded(), reads) {
		return false, ""
	}
	guest := guestOf(khatru.GetConnection(ctx))
	if len(filter.Authors) > 0 && guest.isAll(filter.Authors) {
		return false, ""
	}
	return refusal(guest, filter.Tags["p"], reasonRestrictedFilter)
}

func (rules policy) preventBroadcast(socket *khatru.WebSocket, event *nostr.Event) bool {
	if !slices.Contains(rules.guarded(), event.Kind) {
		return false
	}
	guest := guestOf(socket)
	receives := func(tag nostr.Tag) bool {
		return len(tag) > 1 && tag[0] == "p" && guest.isAll(tag[1:2])
	}
	return !guest.isAll([]string{event.PubKey}) && !slices.ContainsFunc(event.Tags, receives)
}

func refusal(guest *guest, wanted []string, restricted string) (bool, string) {
	switch {
	case guest.isStranger():
		return true, reasonAuthRequired
	case !guest.isAll(wanted):
		return true, restricted
	}
	return false, ""
}
