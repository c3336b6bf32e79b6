// NWAClient of @getalby/sdk: an app with a key of its own that asks for a connection by a link.

import { NWAClient } from "@getalby/sdk/nwc";

export { errorOf } from "./alby.mjs";

export function open(relayUrl, options) {
  const app = new NWAClient({ relayUrls: [relayUrl], ...options });
  const granted = Promise.withResolvers();
  let client;
  return {
    // The link, once the app listens for what comes of it.
    async link() {
      await app.subscribe({ onSuccess: granted.resolve });
      return { link: app.connectionUri };
    },
    async granted() {
      client = await granted.promise;
      return { wallet_pubkey: client.walletPubkey, lud16: client.lud16 ?? null };
    },
    request({ method, params }) {
      return client[method.replace(/_./g, (pair) => pair[1].toUpperCase())](params);
    },
    close() {
      client?.close();
      app.close();
    },
  };
}
