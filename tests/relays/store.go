package main

import (
	"context"
	"sync"

	"github.com/nbd-wtf/go-nostr"
)

// infoStore keeps the newest info event of each author, in memory.
type infoStore struct {
	mutex  sync.Mutex
	events map[string]*nostr.Event
}

func newInfoStore() *infoStore {
	return &infoStore{events: map[string]*nostr.Event{}}
}

func (store *infoStore) replace(_ context.Context, event *nostr.Event) error {
	store.mutex.Lock()
	defer store.mutex.Unlock()
	kept := store.events[event.PubKey]
	if kept == nil || isNewer(event, kept) {
		store.events[event.PubKey] = event
	}
	return nil
}

func (store *infoStore) query(_ context.Context, filter nostr.Filter) (chan *nostr.Event, error) {
	store.mutex.Lock()
	defer store.mutex.Unlock()
	found := make(chan *nostr.Event, len(store.events))
	for _, event := range store.events {
		if filter.Matches(event) {
			found <- event
		}
	}
	close(found)
	return found, nil
}

func (store *infoStore) remove(_ context.Context, event *nostr.Event) error {
	store.mutex.Lock()
	defer store.mutex.Unlock()
	if kept := store.events[event.PubKey]; kept != nil && kept.ID == event.ID {
		delete(store.events, event.PubKey)
	}
	return nil
}

// NIP-01: of two with the same date, the one with the lowest id.
func isNewer(event, kept *nostr.Event) bool {
	if event.CreatedAt == kept.CreatedAt {
		return event.ID < kept.ID
	}
	return event.CreatedAt > kept.CreatedAt
}
