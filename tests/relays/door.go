package main

import (
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http"
	"sync"

	"github.com/fasthttp/websocket"
	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip42"
)

// khatru remembers one authenticated key per socket, and NIP-42 allows several. So NIP-42 is
// spoken here, at the door, and everything else goes through to khatru, which asks who the guest
// is by the number that the door wrote on his request.
type door struct {
	url       string
	asks      bool // for authentication
	relay     *khatru.Relay
	insideURL string
	upgrader  websocket.Upgrader
}

const guestHeader = "X-Guest"

var guests sync.Map // by the number on their request

// guest is one websocket and the keys that have authenticated on it.
type guest struct {
	mutex     sync.Mutex
	socket    *websocket.Conn
	challenge string
	keys      map[string]bool
}

func newDoor(url string, relay *khatru.Relay, asks bool) (*door, error) {
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go http.Serve(inside, relay)
	anywhere := func(*http.Request) bool { return true }
	return &door{
		url:       url,
		asks:      asks,
		relay:     relay,
		insideURL: "ws://" + inside.Addr().String(),
		upgrader:  websocket.Upgrader{CheckOrigin: anywhere},
	}, nil
}

func (door *door) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	if !websocket.IsWebSocketUpgrade(request) {
		door.relay.ServeHTTP(writer, request)
		return
	}
	socket, err := door.upgrader.Upgrade(writer, request, nil)
	if err != nil {
		return
	}
	defer socket.Close()
	guest := &guest{socket: socket, challenge: rand.Text(), keys: map[string]bool{}}
	number := rand.Text()
	guests.Store(number, guest)
	defer guests.Delete(number)
	header := http.Header{guestHeader: {number}}
	inside, _, err := websocket.DefaultDialer.Dial(door.insideURL, header)
	if err != nil {
		return
	}
	defer inside.Close()
	if door.asks {
		guest.say(nostr.AuthEnvelope{Challenge: &guest.challenge})
	}
	go func() {
		defer socket.Close()
		pass(inside, guest.hear)
	}()
	pass(socket, func(frame []byte) error {
		if event := authentication(frame); event != nil {
			return guest.say(door.welcome(guest, event))
		}
		return inside.WriteMessage(websocket.TextMessage, frame)
	})
}

// welcome is the answer to an authenticating event.
func (door *door) welcome(guest *guest, event *nostr.Event) nostr.OKEnvelope {
	key, ok := nip42.ValidateAuthEvent(event, guest.challenge, door.url)
	if !ok {
		return nostr.OKEnvelope{EventID: event.ID, Reason: "invalid: not for this challenge"}
	}
	guest.mutex.Lock()
	defer guest.mutex.Unlock()
	guest.keys[key] = true
	return nostr.OKEnvelope{EventID: event.ID, OK: true}
}

func (guest *guest) say(message any) error {
	frame, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return guest.write(frame)
}

// hear passes on what khatru says, but for its own challenge.
func (guest *guest) hear(frame []byte) error {
	if label(frame) == "AUTH" {
		return nil
	}
	return guest.write(frame)
}

func (guest *guest) write(frame []byte) error {
	guest.mutex.Lock()
	defer guest.mutex.Unlock()
	return guest.socket.WriteMessage(websocket.TextMessage, frame)
}

func (guest *guest) isStranger() bool {
	guest.mutex.Lock()
	defer guest.mutex.Unlock()
	return len(guest.keys) == 0
}

// isAll tells whether the guest has authenticated with every one of the keys.
func (guest *guest) isAll(keys []string) bool {
	guest.mutex.Lock()
	defer guest.mutex.Unlock()
	for _, key := range keys {
		if !guest.keys[key] {
			return false
		}
	}
	return true
}

func guestOf(socket *khatru.WebSocket) *guest {
	if found, ok := guests.Load(socket.Request.Header.Get(guestHeader)); ok {
		return found.(*guest)
	}
	return &guest{} // who has just left
}

// pass gives each frame on until one side is gone.
func pass(from *websocket.Conn, to func([]byte) error) {
	for {
		_, frame, err := from.ReadMessage()
		if err != nil || to(frame) != nil {
			return
		}
	}
}

// authentication is the event of an AUTH frame, or nil for any other frame.
func authentication(frame []byte) *nostr.Event {
	var parts []json.RawMessage
	var event nostr.Event
	if label(frame) != "AUTH" || json.Unmarshal(frame, &parts) != nil || len(parts) < 2 {
		return nil
	}
	if json.Unmarshal(parts[1], &event) != nil {
		return nil
	}
	return &event
}

func label(frame []byte) string {
	var parts []json.RawMessage
	var found string
	if json.Unmarshal(frame, &parts) == nil && len(parts) > 0 {
		json.Unmarshal(parts[0], &found)
	}
	return found
}
