// A small relay for NIP-47 on khatru, for the tests: info events are kept, everything else is
// broadcast once, and who listens to nothing is told `mute:`. It prints its URL and serves until
// its standard input ends.
//
//	relay -listen 127.0.0.1:0 -auth all
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/fiatjaf/khatru"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "host:port; port 0 chooses a free one")
	auth := flag.String("auth", AuthAll, "who has to authenticate: all, requests or none")
	flag.Parse()

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	url := "ws://" + listener.Addr().String()
	door, err := newDoor(url, newRelay(policy{*auth}), *auth != AuthNone)
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(listener, door)) }()
	fmt.Println(url)
	io.Copy(io.Discard, os.Stdin)
}

func newRelay(rules policy) *khatru.Relay {
	relay := khatru.NewRelay()
	relay.Log = log.New(io.Discard, "", 0)
	store := newInfoStore()
	relay.ReplaceEvent = append(relay.ReplaceEvent, store.replace)
	relay.QueryEvents = append(relay.QueryEvents, store.query)
	relay.DeleteEvent = append(relay.DeleteEvent, store.remove)
	relay.RejectEvent = append(relay.RejectEvent, rules.rejectEvent)
	relay.RejectFilter = append(relay.RejectFilter, rules.rejectFilter)
	relay.PreventBroadcast = append(relay.PreventBroadcast, rules.preventBroadcast)
	return relay
}
