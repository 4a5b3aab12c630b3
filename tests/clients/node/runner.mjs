// Runs checks one after the other; prints a line of JSON for each: {"name", "ok", "error"}.
//
// check(name, fn):  once, fn({client, openai, upstream})
// each(name, fn):   for each upstream; the printed name is "name | upstream"

import OpenAI from "openai";

const { baseURL, key, origin, upstreams } = JSON.parse(process.env.XROUTER_CLIENTS);
const checks = [];

export const named = Object.fromEntries(upstreams.map((one) => [one.simulator, one]));
export const address = { baseURL, key };

export const check = (name, fn) => checks.push({ name, fn });

export const each = (name, fn) => {
  for (const upstream of upstreams) checks.push({ name: `${name} | ${upstream.model}`, fn, upstream });
};

// The sandbox's own API, past XRouter.
export const sandbox = {
  async call(method, name, body) {
    const reply = await fetch(`${origin}/_sandbox/${name}`, { method, body: body && JSON.stringify(body) });
    if (!reply.ok) throw new Error(`sandbox: ${reply.status} ${await reply.text()}`);
    return reply.json();
  },
  fault: (kind, provider, how = {}) => sandbox.call("POST", "faults", { kind, provider, ...how }),
  running: async () => (await sandbox.call("GET", "open")).open,
  async clear() {
    for (const name of ["faults", "bill", "seen"]) await sandbox.call("DELETE", name);
  },
  sawAClientLeave: () =>
    eventually("the sandbox sees its client go", async () => {
      const { requests } = await sandbox.call("GET", "seen");
      return requests.some((seen) => seen.closed_by_client) && (await sandbox.running()) === 0;
    }),
};

export async function eventually(why, what) {
  const giveUp = Date.now() + 20_000;
  while (!(await what())) {
    if (Date.now() > giveUp) throw new Error(`did not happen: ${why}`);
    await new Promise((resume) => setTimeout(resume, 20));
  }
}

export async function run() {
  for (const { name, fn, upstream } of checks) {
    const client = new OpenAI({ baseURL, apiKey: key });
    let error = null;
    try {
      await sandbox.clear();
      await fn({ client, once: client.withOptions({ maxRetries: 0 }), upstream });
    } catch (caught) {
      error = caught?.stack ?? String(caught);
    }
    process.stdout.write(`${JSON.stringify({ name, ok: error === null, error })}\n`);
  }
  await sandbox.clear();
}
