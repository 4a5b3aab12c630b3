// What the official Node client must get from XRouter. Names of checks are read by test_node.py.

import assert from "node:assert/strict";

import OpenAI from "openai";

import { address, check, each, eventually, named, run, sandbox } from "./runner.mjs";

const EXACT = "Привет, «мир»! Ёжик 🦔 и 👩‍🚀; é ≠ é, 日本語 \"\\/ <b>&amp;</b>";
const LONG = "[[words:2000]] [[pause:0.05]]";
const say = (content) => [{ role: "user", content }];
const tool = (name, properties) => ({
  type: "function",
  function: { name, parameters: { type: "object", properties, required: Object.keys(properties) } },
});
const TOOLS = [
  tool("get_weather", { town: { type: "string" }, days: { type: "integer" } }),
  tool("get_time", { zone: { type: "string", enum: ["Europe/Moscow"] } }),
];
const ASKED = say("First get_weather, then get_time");
const RESULT = '{"sky":"ясно ☀️"}';

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const joined = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");

each("chat", async ({ client, upstream: { model } }) => {
  const answer = await client.chat.completions.create({ model, messages: say(EXACT) });
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.model, model);
  assert.ok(answer.choices[0].message.content.endsWith(`You said: ${EXACT}`));
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.match(answer._request_id, /^req_/);
});

check("many at once do not mix", async ({ client }) => {
  const models = Object.values(named).map((upstream) => upstream.model);
  const one = async (number) => {
    const model = models[number % models.length];
    const answer = await client.chat.completions.create({ model, messages: say(`N${number}`) });
    return answer.choices[0].message.content.split("You said: ")[1];
  };
  const numbers = [...Array(20).keys()];
  assert.deepEqual(await Promise.all(numbers.map(one)), numbers.map((number) => `N${number}`));
});

each("stream", async ({ client, upstream: { model } }) => {
  const chunks = await collect(
    await client.chat.completions.create({
      model,
      messages: say(EXACT),
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const usage = chunks.pop();
  assert.deepEqual(usage.choices, []);
  assert.ok(usage.usage.completion_tokens > 0);
  assert.ok(joined(chunks).endsWith(`You said: ${EXACT}`));
  assert.equal(new Set(chunks.map(({ id, created, model: who }) => `${id} ${created} ${who}`)).size, 1);
  const choices = chunks.map((chunk) => chunk.choices[0]);
  assert.deepEqual(choices.map(({ delta }) => delta.role).filter(Boolean), ["assistant"]);
  assert.equal(choices[0].delta.role, "assistant");
  assert.deepEqual(choices.map((choice) => choice.finish_reason).filter(Boolean), ["stop"]);
  assert.equal(choices.at(-1).finish_reason, "stop");
});

each("stream helper", async ({ client, upstream: { model } }) => {
  const stream = client.chat.completions.stream({ model, messages: say(EXACT) });
  let told = "";
  stream.on("content", (delta) => {
    told += delta;
  });
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, told);
  assert.equal(final.choices[0].message.role, "assistant");
  assert.ok(told.endsWith(`You said: ${EXACT}`));
});

each("tools", async ({ client, upstream: { model, turns } }) => {
  const messages = [...ASKED];
  const called = [];
  for (let turn = 0; turn < 5; turn += 1) {
    const answer = await client.chat.completions.create({ model, messages, tools: TOOLS });
    const { message, finish_reason: finish } = answer.choices[0];
    messages.push(message);
    if (finish === "stop") break;
    assert.equal(finish, "tool_calls");
    for (const call of message.tool_calls) {
      called.push(call.function.name);
      JSON.parse(call.function.arguments);
      messages.push({ role: "tool", tool_call_id: call.id, content: RESULT });
    }
  }
  assert.deepEqual(called, turns.flat());
  assert.ok(messages.at(-1).content.includes("ясно ☀️"));
});

each("streamed tools in the helper", async ({ client, upstream: { model, turns } }) => {
  const stream = client.chat.completions.stream({ model, messages: ASKED, tools: TOOLS });
  const { message, finish_reason: finish } = (await stream.finalChatCompletion()).choices[0];
  assert.equal(finish, "tool_calls");
  const names = message.tool_calls.map((call) => call.function.name);
  assert.deepEqual(names, turns[0]);
  assert.deepEqual(Object.keys(JSON.parse(message.tool_calls[0].function.arguments)), ["town", "days"]);
  assert.equal(new Set(message.tool_calls.map((call) => call.id)).size, names.length);
});

each("runTools drives the whole conversation", async ({ client, upstream: { model, turns } }) => {
  const called = [];
  const withFunction = ({ function: spec }) => ({
    type: "function",
    function: {
      ...spec,
      description: `Do ${spec.name}`,
      parse: JSON.parse,
      function: () => {
        called.push(spec.name);
        return RESULT;
      },
    },
  });
  const runner = client.chat.completions.runTools({
    model,
    messages: ASKED,
    tools: TOOLS.map(withFunction),
    stream: true,
  });
  assert.ok((await runner.finalContent()).includes("ясно ☀️"));
  assert.deepEqual(called, turns.flat());
});

each("a JSON schema", async ({ client, upstream: { model } }) => {
  const schema = {
    type: "object",
    properties: { town: { type: "string" }, people: { type: "integer" } },
    required: ["town", "people"],
    additionalProperties: false,
  };
  const answer = await client.chat.completions.parse({
    model,
    messages: say("A town, please"),
    response_format: { type: "json_schema", json_schema: { name: "town", schema, strict: true } },
  });
  const said = JSON.parse(answer.choices[0].message.content);
  assert.deepEqual(Object.keys(said), ["town", "people"]);
});

check("models", async ({ client }) => {
  const found = [];
  for await (const model of client.models.list()) found.push(model.id);
  for (const { model } of Object.values(named)) assert.ok(found.includes(model), model);
  const one = await client.models.retrieve("openai/gpt-4o");
  assert.equal(one.id, "openai/gpt-4o");
  assert.equal(one.owned_by, "openai");
  await assert.rejects(client.models.retrieve("no/such"), OpenAI.NotFoundError);
});

check("embeddings", async ({ client }) => {
  for (const { embedder: model, size } of Object.values(named)) {
    if (!model) continue;
    const input = [EXACT, "second"];
    const packed = await client.embeddings.create({ model, input });
    const plain = await client.embeddings.create({ model, input, encoding_format: "float" });
    assert.deepEqual(packed.data.map(({ index }) => index), [0, 1]);
    for (const place of [0, 1]) {
      const [one, other] = [packed.data[place].embedding, plain.data[place].embedding];
      assert.equal(one.length, size);
      assert.equal(other.length, size);
      one.forEach((number, at) => assert.ok(Math.abs(number - other[at]) < 1e-6));
    }
  }
});

check("errors have their classes and fields", async ({ client }) => {
  const { model } = named.openai;
  const messages = say("Hello");
  const stranger = new OpenAI({ baseURL: address.baseURL, apiKey: "sk-wrong" });
  const expected = [
    [() => stranger.models.list(), OpenAI.AuthenticationError, 401, "invalid_api_key", null],
    [
      () => client.chat.completions.create({ model: "no/such", messages }),
      OpenAI.NotFoundError,
      404,
      "model_not_found",
      "model",
    ],
    [
      () => client.chat.completions.create({ model, messages, temperature: 3 }),
      OpenAI.BadRequestError,
      400,
      "decimal_above_max_value",
      "temperature",
    ],
    [
      () => client.chat.completions.create({ model, messages: [], stream: true }),
      OpenAI.BadRequestError,
      400,
      "empty_array",
      "messages",
    ],
    [() => client.fineTuning.jobs.list(), OpenAI.NotFoundError, 404, "unknown_url", null],
  ];
  for (const [call, kind, status, code, param] of expected) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof kind, `${error}`);
      assert.deepEqual([error.status, error.code, error.param], [status, code, param]);
      assert.equal(error.type, "invalid_request_error");
      assert.match(error.requestID, /^req_/);
      return true;
    });
  }
});

each("a failing provider", async ({ once, upstream: { model, simulator, path } }) => {
  await sandbox.fault("server_error", simulator, { times: null, match: { path } });
  for (const stream of [false, true]) {
    await assert.rejects(once.chat.completions.create({ model, messages: say("Hello"), stream }), (error) => {
      assert.ok(error instanceof OpenAI.InternalServerError, `${error}`);
      assert.deepEqual([error.status, error.code], [502, "upstream_error"]);
      return true;
    });
  }
});

check("the provider's limit, and when to come back", async ({ once }) => {
  await sandbox.fault("rate_limited", "openai", { retry_after: 7 });
  const { model } = named.openai;
  await assert.rejects(once.chat.completions.create({ model, messages: say("Hello") }), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError, `${error}`);
    assert.equal(error.headers.get("retry-after"), "7");
    return true;
  });
});

check("the client tries again by itself", async ({ client }) => {
  await sandbox.fault("server_error", "openai");
  const { model } = named.openai;
  const answer = await client.chat.completions.create({ model, messages: say("Hello") });
  assert.ok(answer.choices[0].message.content.endsWith("Hello"));
});

each("a stream that breaks", async ({ client, upstream: { model, simulator, path, early } }) => {
  for (const kind of ["cut", "early_error_frame"]) {
    await sandbox.fault(kind, simulator, { after: early, match: { path } });
    let told = "";
    const stream = await client.chat.completions.create({ model, messages: say("[[words:60]]"), stream: true });
    await assert.rejects(
      async () => {
        for await (const chunk of stream) told += chunk.choices[0]?.delta?.content ?? "";
      },
      (error) => {
        assert.ok(error instanceof OpenAI.APIError, `${error}`);
        assert.equal(error.status, undefined);
        assert.ok(error.code, "an error in a stream has a code");
        return true;
      },
    );
    assert.ok(told.startsWith("one"));
    assert.ok(told.split(" ").length < 60);
  }
});

check("a stream that breaks in the helper", async ({ client }) => {
  await sandbox.fault("reset", "openai", { after: 5 });
  const { model } = named.openai;
  const stream = client.chat.completions.stream({ model, messages: say("[[words:60]]") });
  await assert.rejects(stream.finalChatCompletion(), OpenAI.APIError);
});

each("aborting a stream", async ({ client, upstream: { model } }) => {
  const controller = new AbortController();
  const stream = await client.chat.completions.create(
    { model, messages: say(LONG), stream: true },
    { signal: controller.signal },
  );
  let pieces = 0;
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content) pieces += 1;
    if (pieces === 2) controller.abort();
  }
  assert.ok(pieces < 100);
  await sandbox.sawAClientLeave();
});

check("breaking out of the loop", async ({ client }) => {
  const { model } = named.openai;
  const stream = await client.chat.completions.create({ model, messages: say(LONG), stream: true });
  for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  await sandbox.sawAClientLeave();
});

each("aborting before the answer", async ({ client, upstream: { model, simulator, path } }) => {
  await sandbox.fault("hang_before_headers", simulator, { match: { path } });
  const controller = new AbortController();
  const asked = client.chat.completions.create({ model, messages: say("Hello") }, { signal: controller.signal });
  const rejected = assert.rejects(asked, OpenAI.APIUserAbortError);
  await eventually("it was asked", async () => (await sandbox.running()) === 1);
  controller.abort();
  await rejected;
  await sandbox.sawAClientLeave();
});

check("the client's patience ends", async ({ once }) => {
  await sandbox.fault("hang_before_headers", "openai");
  const { model } = named.openai;
  const asked = once.chat.completions.create({ model, messages: say("Hello") }, { timeout: 3000 });
  await assert.rejects(asked, OpenAI.APIConnectionTimeoutError);
  await sandbox.sawAClientLeave();
});

check("the raw answer", async ({ client }) => {
  const { model } = named.openai;
  const asked = client.chat.completions.create({ model, messages: say("Hello") });
  const { data, response, request_id: id } = await asked.withResponse();
  assert.equal(response.headers.get("x-request-id"), id);
  assert.equal(response.headers.get("x-xrouter-model"), model);
  assert.equal(response.headers.get("x-xrouter-provider"), "openai");
  assert.equal(data._request_id, id);
});

check("the other base URL", async () => {
  const { model } = named.openai;
  const client = new OpenAI({ baseURL: address.baseURL.replace("/v1", "/api/v1"), apiKey: address.key });
  const answer = await client.chat.completions.create({ model, messages: say("Hello") });
  assert.ok(answer.choices[0].message.content.endsWith("Hello"));
  assert.equal((await client.models.retrieve(model)).id, model);
});

await run();
