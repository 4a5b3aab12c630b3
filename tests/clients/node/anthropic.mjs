// What Anthropic's official Node client must get from XRouter. Names of checks are read by suites.py.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";

import { address, check, each, named, run, sandbox } from "./runner.mjs";

const EXACT = "Привет, «мир»! Ёжик 🦔 и 👩‍🚀; é ≠ é, 日本語 \"\\/ <b>&amp;</b>";
const LONG = "[[words:2000]] [[pause:0.05]]";
const ASKED = "First get_weather, then get_time";
const RESULT = '{"sky":"ясно ☀️"}';
const tool = (name, properties) => ({
  name,
  description: `Do ${name}`,
  input_schema: { type: "object", properties, required: Object.keys(properties) },
});
const TOOLS = [
  tool("get_weather", { town: { type: "string" }, days: { type: "integer" } }),
  tool("get_time", { zone: { type: "string", enum: ["Europe/Moscow"] } }),
];

const client = new Anthropic({ baseURL: address.baseURL.replace(/\/v1$/, ""), apiKey: address.key, maxRetries: 0 });
const asking = (model, content, more = {}) => ({
  model,
  max_tokens: 1000,
  messages: [{ role: "user", content }],
  ...more,
});
const textOf = ({ content }) => content.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("");

each("a message", async ({ upstream: { model } }) => {
  const answer = await client.messages.create(asking(model, EXACT, { system: "Be brief.", temperature: 0 }));
  assert.equal(answer.type, "message");
  assert.equal(answer.role, "assistant");
  assert.equal(answer.model, model);
  assert.ok(textOf(answer).endsWith(EXACT), textOf(answer));
  assert.equal(answer.stop_reason, "end_turn");
  assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
  assert.match(answer._request_id, /^req_/);
});

each("the streaming helper", async ({ upstream: { model } }) => {
  const stream = client.messages.stream(asking(model, EXACT));
  let told = "";
  stream.on("text", (delta) => {
    told += delta;
  });
  const final = await stream.finalMessage();
  assert.equal(textOf(final), told);
  assert.ok(told.endsWith(EXACT));
  assert.equal(final.stop_reason, "end_turn");
  assert.ok(final.usage.output_tokens > 0);
});

each("limits and stops", async ({ upstream: { model } }) => {
  const limited = await client.messages.create(asking(model, "[[words:50]]", { max_tokens: 7 }));
  assert.equal(limited.stop_reason, "max_tokens");
  assert.equal(textOf(limited).split(" ").length, 7);
  const stopped = await client.messages.create(asking(model, "[[words:50]]", { stop_sequences: ["the long"] }));
  assert.equal(textOf(stopped).trim(), "one step more on");
});

const converse = async (ask, { model, turns }) => {
  const messages = [{ role: "user", content: ASKED }];
  const called = [];
  for (let turn = 0; turn < 5; turn += 1) {
    const answer = await ask({ model, max_tokens: 1000, messages, tools: TOOLS });
    messages.push({ role: "assistant", content: answer.content });
    if (answer.stop_reason === "end_turn") break;
    assert.equal(answer.stop_reason, "tool_use");
    const calls = answer.content.filter(({ type }) => type === "tool_use");
    called.push(calls.map(({ name }) => name));
    const results = calls.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: RESULT }));
    messages.push({ role: "user", content: results });
  }
  assert.deepEqual(called, turns);
  assert.ok(textOf(messages.at(-1)).includes("ясно ☀️"));
};

each("a loop of tools", async ({ upstream }) => {
  await converse((body) => client.messages.create(body), upstream);
});

each("a streamed loop of tools", async ({ upstream }) => {
  await converse((body) => client.messages.stream(body).finalMessage(), upstream);
});

each("a call that is demanded", async ({ upstream: { model } }) => {
  for (const choice of [{ type: "any" }, { type: "tool", name: "get_time" }]) {
    const answer = await client.messages.create(asking(model, "Hello", { tools: [TOOLS[1]], tool_choice: choice }));
    const [call] = answer.content.filter(({ type }) => type === "tool_use");
    assert.deepEqual([call.name, call.input], ["get_time", { zone: "Europe/Moscow" }]);
  }
});

each("counted tokens", async ({ upstream: { model } }) => {
  const counted = await client.messages.countTokens({ model, messages: [{ role: "user", content: EXACT }] });
  assert.ok(counted.input_tokens > 0);
});

check("errors have their classes", async () => {
  const { model } = named.openai;
  const stranger = new Anthropic({ baseURL: client.baseURL, apiKey: "sk-wrong" });
  await assert.rejects(stranger.messages.create(asking(model, "Hello")), Anthropic.AuthenticationError);
  await assert.rejects(client.messages.create(asking("no/such", "Hello")), Anthropic.NotFoundError);
  await assert.rejects(client.messages.create(asking(model, "Hello", { max_tokens: 0 })), (error) => {
    assert.ok(error instanceof Anthropic.BadRequestError, `${error}`);
    assert.equal(error.error.error.type, "invalid_request_error");
    assert.match(error.requestID, /^req_/);
    return true;
  });
  await sandbox.fault("rate_limited", "openai", { retry_after: 7 });
  await assert.rejects(client.messages.create(asking(model, "Hello")), (error) => {
    assert.ok(error instanceof Anthropic.RateLimitError, `${error}`);
    assert.equal(error.headers.get("retry-after"), "7");
    return true;
  });
});

each("a stream that breaks", async ({ upstream: { model, simulator, path, early } }) => {
  await sandbox.fault("cut", simulator, { after: early, match: { path } });
  let told = "";
  const stream = client.messages.stream(asking(model, "[[words:60]]"));
  stream.on("text", (delta) => {
    told += delta;
  });
  await assert.rejects(stream.finalMessage(), Anthropic.APIError);
  assert.ok(told.startsWith("one"));
  assert.ok(told.split(" ").length < 60);
});

each("aborting a stream", async ({ upstream: { model } }) => {
  const stream = await client.messages.create(asking(model, LONG, { stream: true }));
  for await (const event of stream) if (event.type === "content_block_delta") break;
  await sandbox.sawAClientLeave();
});

await run();
