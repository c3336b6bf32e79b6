// @getalby/lightning-tools: what a wallet does with a Lightning address. The option `base_url` is
// where the proxy that adds TLS for the address's domain would lead.

import { LightningAddress } from "@getalby/lightning-tools/lnurl";
import { finalizeEvent, generateSecretKey, getPublicKey } from "nostr-tools/pure";

const fetchFromTheWorld = globalThis.fetch;

export function open(address, { base_url }) {
  globalThis.fetch = (url, init) =>
    fetchFromTheWorld(String(url).replace(/^https:\/\/[^/]+/, base_url), init);
  const known = new LightningAddress(address, { proxy: false });
  const secret = generateSecretKey();
  const nostr = {
    getPublicKey: async () => getPublicKey(secret),
    signEvent: async (event) => finalizeEvent(event, secret),
  };
  let asked;
  return {
    async requestInvoice(params) {
      await known.fetch();
      asked = await known.requestInvoice(params);
      return { invoice: asked.paymentRequest, comment_allowed: known.lnurlpData.commentAllowed };
    },
    async zapInvoice(params) {
      await known.fetch();
      asked = await known.zapInvoice(params, { nostr });
      return { invoice: asked.paymentRequest, payer: getPublicKey(secret) };
    },
    isPaid: () => asked.verifyPayment(),
    close() {},
  };
}

export function errorOf(error) {
  return { code: "LIBRARY", message: `${error.constructor.name}: ${error.message}` };
}
