// Calls an unmodified client library for the Python tests: `node driver.mjs LIBRARY`, where
// LIBRARY is the name of a module beside this file.
//
//   stdin:  {id, uri, options, op, params}          one JSON object a line
//   stdout: {id, ok: true, result}
//           {id, ok: false, error: {code, message}}
//           {uri, notification}                     after the op `subscribe`
//
// The module gives `open(uri, options)`, a connection whose methods are the ops, and
// `errorOf(error)`. Every connection has `request({method, params})`, whose method, params and
// result have their NIP-47 names and units, and `close`. It ends with its standard input.

import { createInterface } from "node:readline";

console.log = console.error; // what a library prints is not the protocol

const { open, errorOf } = await import(`./${process.argv[2]}.mjs`);
const connections = new Map();

function connectionOf(uri, options) {
  if (!connections.has(uri)) connections.set(uri, open(uri, options));
  return connections.get(uri);
}

async function close(uri) {
  await connections.get(uri)?.close();
  connections.delete(uri);
}

async function run({ uri, options, op, params }) {
  if (op === "close") return close(uri);
  const connection = connectionOf(uri, options);
  if (typeof connection[op] !== "function") throw new TypeError(`there is no ${op}`);
  if (op === "subscribe") {
    return connection.subscribe((notification) => write({ uri, notification }));
  }
  return connection[op](params);
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

// In a browser a rejection inside an event handler of a library is only logged; Node would end.
process.on("unhandledRejection", (error) => console.error("unhandled rejection", error));

createInterface({ input: process.stdin })
  .on("line", answer)
  .on("close", () => process.exit(0));
