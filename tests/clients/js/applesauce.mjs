// applesauce-wallet-connect over applesauce-relay. What WalletConnect has no method of its own
// for is asked with its generic `request`.

import { RelayPool } from "applesauce-relay";
import { WalletConnect } from "applesauce-wallet-connect";
import { WalletBaseError } from "applesauce-wallet-connect/helpers/error";

const TYPES = ["payment_received", "payment_sent", "hold_invoice_accepted"];

const CALLS = {
  pay_invoice: (wallet, { invoice, amount }) => wallet.payInvoice(invoice, amount),
  multi_pay_invoice: (wallet, { invoices }) => wallet.payMultipleInvoices(invoices),
  pay_keysend: (wallet, { pubkey, amount, preimage, tlv_records }) =>
    wallet.payKeysend(pubkey, amount, preimage, tlv_records),
  multi_pay_keysend: (wallet, { keysends }) => wallet.payMultipleKeysend(keysends),
  make_invoice: (wallet, { amount, ...options }) => wallet.makeInvoice(amount, options),
  lookup_invoice: (wallet, { payment_hash, invoice }) =>
    wallet.lookupInvoice(payment_hash, invoice),
  list_transactions: (wallet, params) => wallet.listTransactions(params),
  get_balance: (wallet) => wallet.getBalance(),
  get_info: (wallet) => wallet.getInfo(),
};

export function open(uri, { timeout_ms }) {
  const pool = new RelayPool();
  const wallet = WalletConnect.fromConnectURI(uri, { pool, timeout: timeout_ms });
  return {
    request({ method, params }) {
      const call = CALLS[method];
      return call ? call(wallet, params) : wallet.request(method, params);
    },
    async subscribe(hear) {
      for (const type of TYPES) {
        wallet.notification(type, (notification) =>
          hear({ notification_type: type, notification }),
        );
      }
      await wallet.getSupport(); // comes over the one subscription that they share
    },
    // What the library makes of the whole answer, where `request` keeps the result only.
    answer: ({ method, params }) =>
      new Promise((resolve, reject) => {
        wallet.call(method, params).subscribe({ next: resolve, error: reject });
      }),
    waitForPaid: (invoice) => wallet.waitForPaid(invoice),
    close: () => pool.close(),
  };
}

export function errorOf(error) {
  if (error instanceof WalletBaseError) return { code: error.code, message: error.message };
  const code = error.name === "TimeoutError" || /timeout/i.test(error.message);
  return { code: code ? "NO_ANSWER" : "LIBRARY", message: `${error.name}: ${error.message}` };
}
