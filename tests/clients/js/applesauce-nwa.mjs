// WalletConnect of applesauce-wallet-connect: an app with a key of its own that asks for a
// connection by a link.

import { RelayPool } from "applesauce-relay";
import { WalletConnect } from "applesauce-wallet-connect";

export { errorOf } from "./applesauce.mjs";

export function open(relayUrl, { requestMethods, watches = true, ...asked }) {
  const pool = new RelayPool();
  const secret = crypto.getRandomValues(new Uint8Array(32));
  const wallet = new WalletConnect({ secret, relays: [relayUrl], pool });
  let granted;
  return {
    // The link, once the app listens for what comes of it.
    async link() {
      // Calls wait for the info event, which comes once: whoever subscribes later misses it.
      if (watches) wallet.support$.subscribe();
      granted = wallet.waitForService();
      return { link: wallet.getAuthURI({ methods: requestMethods, ...asked }) };
    },
    granted: async () => ({ wallet_pubkey: await granted }),
    request: ({ method, params }) => wallet.request(method, params),
    close: () => pool.close(),
  };
}
