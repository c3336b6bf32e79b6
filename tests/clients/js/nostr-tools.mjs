// nostr-tools: its nip47 module makes one request, pay_invoice over NIP-04. Everything else is
// put together here from its pool, its events and its encryptions, as an app would do.

import { SimplePool, finalizeEvent, getPublicKey, nip04, nip44, nip47 } from "nostr-tools";
import { hexToBytes } from "nostr-tools/utils";

const INFO = 13194;
const REQUEST = 23194;
const RESPONSE = 23195;
const NOTIFICATION_OF = { nip04: 23196, nip44_v2: 23197 };
const ITEMS_OF = { multi_pay_invoice: "invoices", multi_pay_keysend: "keysends" };

class Refused extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

class Connection {
  constructor(uri) {
    const { pubkey, relays, secret } = nip47.parseConnectionString(uri);
    this.wallet = pubkey;
    this.relays = relays;
    this.secret = hexToBytes(secret);
    this.key = nip44.getConversationKey(this.secret, pubkey);
    this.pool = new SimplePool();
  }

  async request({ method, params }) {
    const items = ITEMS_OF[method];
    const event = await this.requestEvent(method, params);
    const answers = await this.answersTo(event, items ? params[items].length : 1);
    const results = answers.map(({ response, d }) => {
      if (response.error) throw new Refused(response.error);
      return items ? { ...response.result, dTag: d } : response.result;
    });
    return items ? { [items]: results } : results[0];
  }

  async requestEvent(method, params) {
    const scheme = await this.scheme();
    const isPlain = Object.keys(params).join() === "invoice";
    if (method === "pay_invoice" && scheme === "nip04" && isPlain) {
      return nip47.makeNwcRequestEvent(this.wallet, this.secret, params.invoice);
    }
    return finalizeEvent(
      {
        kind: REQUEST,
        created_at: Math.floor(Date.now() / 1000),
        tags: [["p", this.wallet], ["encryption", scheme]],
        content: this.encrypt(JSON.stringify({ method, params }), scheme),
      },
      this.secret,
    );
  }

  answersTo(event, count) {
    return new Promise((resolve, reject) => {
      const answers = [];
      const subscription = this.pool.subscribe(
        this.relays,
        { kinds: [RESPONSE], authors: [this.wallet], "#e": [event.id] },
        {
          onevent: (answer) => {
            answers.push({
              response: JSON.parse(this.decrypt(answer.content)),
              d: answer.tags.find(([name]) => name === "d")?.[1],
            });
            if (answers.length < count) return;
            subscription.close();
            resolve(answers);
          },
        },
      );
      Promise.any(this.pool.publish(this.relays, event)).catch(reject);
    });
  }

  async subscribe(hear) {
    const filter = {
      kinds: [NOTIFICATION_OF[await this.scheme()]],
      authors: [this.wallet],
      "#p": [getPublicKey(this.secret)],
    };
    await new Promise((resolve) => {
      this.pool.subscribe(this.relays, filter, {
        onevent: (event) => hear(JSON.parse(this.decrypt(event.content))),
        oneose: resolve,
      });
    });
  }

  nip47Exports() {
    return { names: Object.keys(nip47).sort() };
  }

  async scheme() {
    const info = await this.pool.get(this.relays, { kinds: [INFO], authors: [this.wallet] });
    const offered = info.tags.find(([name]) => name === "encryption")?.[1] ?? "nip04";
    return offered.split(" ").includes("nip44_v2") ? "nip44_v2" : "nip04";
  }

  encrypt(text, scheme) {
    if (scheme === "nip04") return nip04.encrypt(this.secret, this.wallet, text);
    return nip44.encrypt(text, this.key);
  }

  decrypt(content) {
    if (content.includes("?iv=")) return nip04.decrypt(this.secret, this.wallet, content);
    return nip44.decrypt(content, this.key);
  }

  close() {
    this.pool.close(this.relays);
  }
}

export function open(uri) {
  return new Connection(uri);
}

export function errorOf(error) {
  return { code: error.code ?? "LIBRARY", message: error.message };
}
