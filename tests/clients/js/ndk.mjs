// @nostr-dev-kit/wallet: `request` is NDKNWCWallet's own `req`; the calls that it makes of it
// stand beside.

import NDK from "@nostr-dev-kit/ndk";
import { NDKNWCWallet } from "@nostr-dev-kit/wallet";

export function open(uri, { timeout_ms }) {
  const wallet = new NDKNWCWallet(new NDK(), { pairingCode: uri, timeout: timeout_ms });
  return {
    request: async ({ method, params }) => (await wallet.req(method, params)).result,
    lnPay: ({ invoice }) => wallet.lnPay({ pr: invoice }),
    async balance() {
      await wallet.updateBalance();
      return wallet.balance;
    },
    makeInvoice: ({ amount, description }) => wallet.makeInvoice(amount, description),
    fetchTransactions: async () => ({ transactions: await wallet.fetchTransactions() }),
    getInfo: () => wallet.getInfo(),
    close() {
      for (const relay of wallet.pool.relays.values()) relay.disconnect();
    },
  };
}

export function errorOf(error) {
  if (error.error) return error.error; // it rejects with the answer itself
  const code = /timed out/.test(error.message) ? "NO_ANSWER" : "LIBRARY";
  return { code, message: `${error.constructor.name}: ${error.message}` };
}
