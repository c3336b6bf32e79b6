// Calls unmodified NWCClients of @getalby/sdk for the Python tests.
//
//   stdin:  {id, op, uri, params}                   one JSON object a line
//   stdout: {id, ok: true, result}
//           {id, ok: false, error: {code, message}}
//           {uri, notification}                     after the op `subscribe`
//
// `op` is a method of NWCClient, `subscribe` or `close`. It ends with its standard input.

import { createInterface } from "node:readline";
import {
  NWCClient,
  Nip47TimeoutError,
  Nip47UnexpectedResponseError,
  Nip47WalletError,
} from "@getalby/sdk/nwc";

const clients = new Map();

function clientOf(uri) {
  if (!clients.has(uri)) {
    clients.set(uri, new NWCClient({ nostrWalletConnectUrl: uri, requireSecret: true }));
  }
  return clients.get(uri);
}

async function subscribe(uri, { types } = {}) {
  const client = clientOf(uri);
  await client.subscribeNotifications((notification) => write({ uri, notification }), types);
  // The SDK does not wait for the relay. A relay reads one socket in order, so an answer to a
  // later REQ says that the subscription stands.
  await client.getWalletServiceInfo();
}

function close(uri) {
  clients.get(uri)?.close();
  clients.delete(uri);
}

async function run({ op, uri, params }) {
  if (op === "subscribe") return subscribe(uri, params);
  if (op === "close") return close(uri);
  const client = clientOf(uri);
  if (typeof client[op] !== "function") throw new TypeError(`NWCClient has no method ${op}`);
  return client[op](params);
}

function errorOf(error) {
  // The SDK says INTERNAL for its own timeouts too; only a wallet's code is passed on as one.
  if (error instanceof Nip47WalletError || error instanceof Nip47UnexpectedResponseError) {
    return { code: error.code, message: error.message };
  }
  const code = error instanceof Nip47TimeoutError ? "NO_ANSWER" : "LIBRARY";
  return { code, message: `${error.constructor.name}: ${error.message}` };
}

async function answer(line) {
  const request = JSON.parse(line);
  try {
    const result = await run(request);
    write({ id: request.id, ok: true, result: result ?? null });
  } catch (error) {
    write({ id: request.id, ok: false, error: errorOf(error) });
  }
}

function write(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

// In a browser a rejection inside an event handler of the SDK is only logged; Node would end.
process.on("unhandledRejection", (error) => console.error("unhandled rejection", error));

createInterface({ input: process.stdin })
  .on("line", answer)
  .on("close", () => process.exit(0));
