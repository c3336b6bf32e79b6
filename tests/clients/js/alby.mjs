// @getalby/sdk: a method of NIP-47 is the method of NWCClient of the same name in camel case.

import { LNClient } from "@getalby/sdk/lnclient";
import {
  NWCClient,
  Nip47TimeoutError,
  Nip47UnexpectedResponseError,
  Nip47WalletError,
} from "@getalby/sdk/nwc";

export function open(uri) {
  const client = new NWCClient({ nostrWalletConnectUrl: uri, requireSecret: true });
  const lightning = new LNClient(client);
  return {
    request({ method, params }) {
      const name = method.replace(/_./g, (pair) => pair[1].toUpperCase());
      if (typeof client[name] !== "function") throw new TypeError(`NWCClient has no ${name}`);
      return client[name](params);
    },
    async subscribe(hear) {
      await client.subscribeNotifications(hear);
      // The SDK does not wait for the relay. A relay reads one socket in order, so an answer to
      // a later REQ says that the subscription stands.
      await client.getWalletServiceInfo();
    },
    pay: ({ invoice }) => lightning.pay(invoice),
    async requestPayment({ satoshi }) {
      this.asked = await lightning.requestPayment({ satoshi });
      this.paid = new Promise((resolve) => this.asked.onPaid(resolve));
      return this.asked.transaction;
    },
    onPaid() {
      return this.paid;
    },
    close: () => client.close(),
  };
}

export function errorOf(error) {
  // The SDK says INTERNAL for its own timeouts too; only a wallet's code is passed on as one.
  if (error instanceof Nip47WalletError || error instanceof Nip47UnexpectedResponseError) {
    return { code: error.code, message: error.message };
  }
  const code = error instanceof Nip47TimeoutError ? "NO_ANSWER" : "LIBRARY";
  return { code, message: `${error.constructor.name}: ${error.message}` };
}
