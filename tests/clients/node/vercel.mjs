// What Vercel's AI SDK must get from XRouter, by each of its ways to a server like OpenAI's.
// Names of checks are read by suites.py.

import assert from "node:assert/strict";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError,
  embed,
  embedMany,
  experimental_transcribe as transcribe,
  generateImage,
  generateObject,
  generateText,
  isStepCount,
  Output,
  streamObject,
  streamText,
  tool,
} from "ai";
import { z } from "zod";

import { address, check, each, named, run, sandbox } from "./runner.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const EXACT = "Привет, «мир»! Ёжик 🦔 и 👩‍🚀; é ≠ é, 日本語 \"\\/ <b>&amp;</b>";
const LONG = "[[words:2000]] [[pause:0.05]]";
const ASKED = "First get_weather, then get_time";
const TOWN = z.object({ name: z.string(), people: z.number().int().nullable(), rivers: z.array(z.string()) });
const SAMPLE = { name: "sample", people: 1, rivers: ["sample"] };

const { baseURL, key: apiKey } = address;
const openai = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({
  name: "xrouter",
  baseURL,
  apiKey,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const WAYS = {
  chat: (model) => openai.chat(model),
  responses: (model) => openai.responses(model),
  compatible: (model) => compatible(model),
};

// Once for each way; its name is put before what went wrong.
async function byEach(model, fn, ways = Object.keys(WAYS)) {
  for (const way of ways) {
    try {
      await fn(WAYS[way](model), way);
    } catch (error) {
      throw new Error(`${way}: ${error?.stack ?? error}`, { cause: error });
    }
  }
}

const said = (text) => text.split("You said: ").at(-1);
const converse = async (model, providerOptions) => {
  const messages = [{ role: "user", content: "First" }];
  const first = await generateText({ model, messages, providerOptions });
  messages.push(...first.response.messages, { role: "user", content: "Second" });
  const second = await generateText({ model, messages, providerOptions });
  assert.equal(said(second.text), "Second");
};
const tools = () => {
  const called = [];
  const make = (name, inputSchema) =>
    tool({
      description: `Do ${name}`,
      inputSchema,
      execute: async (input) => {
        called.push(name);
        return { sky: "ясно ☀️", ...input };
      },
    });
  return {
    called,
    set: {
      get_weather: make("get_weather", z.object({ town: z.string(), days: z.number().int() })),
      get_time: make("get_time", z.object({ zone: z.enum(["Europe/Moscow", "UTC"]) })),
    },
  };
};

each("generateText", async ({ upstream }) => {
  await byEach(upstream.model, async (model) => {
    const { text, finishReason, usage, response } = await generateText({ model, system: "Be brief.", prompt: EXACT });
    assert.ok(text.endsWith(EXACT), text);
    assert.equal(finishReason, "stop");
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
    assert.equal(response.modelId, upstream.model);
  });
});

each("a conversation", async ({ upstream }) => {
  await byEach(upstream.model, (model) => converse(model, { openai: { store: false } }));
});

each("a conversation by references", async ({ upstream }) => {
  await byEach(upstream.model, (model) => converse(model, {}), ["responses"]);
});

each("streamText", async ({ upstream }) => {
  await byEach(upstream.model, async (model) => {
    const pieces = [];
    const result = streamText({ model, prompt: EXACT });
    for await (const piece of result.textStream) pieces.push(piece);
    assert.ok(pieces.length > 1);
    assert.equal(said(pieces.join("")), EXACT);
    assert.equal(await result.finishReason, "stop");
    assert.ok((await result.usage).outputTokens > 0);
  });
});

each("limits and stops", async ({ upstream }) => {
  await byEach(upstream.model, async (model, way) => {
    const limited = await generateText({ model, prompt: "[[words:50]]", maxOutputTokens: 20, temperature: 0 });
    assert.equal(limited.text.split(" ").length, 20);
    assert.equal(limited.finishReason, "length");
    if (way === "responses") return; // has no stop sequences
    const stopped = await generateText({ model, prompt: "[[words:50]]", stopSequences: ["the long"] });
    assert.equal(stopped.text.trim(), "one step more on");
  });
});

each("a loop of tools", async ({ upstream: { model: name, turns } }) => {
  await byEach(name, async (model) => {
    const { called, set } = tools();
    const result = await generateText({ model, tools: set, prompt: ASKED, stopWhen: isStepCount(5) });
    assert.deepEqual(called, turns.flat());
    assert.equal(result.steps.length, turns.length + 1);
    assert.ok(result.text.includes("ясно ☀️"), result.text);
  });
});

each("a streamed loop of tools", async ({ upstream: { model: name, turns } }) => {
  await byEach(name, async (model) => {
    const { called, set } = tools();
    const result = streamText({ model, tools: set, prompt: ASKED, stopWhen: isStepCount(5) });
    const kinds = new Set();
    for await (const part of result.fullStream) kinds.add(part.type);
    for (const kind of ["tool-input-start", "tool-input-delta", "tool-call", "tool-result", "text-delta", "finish"]) {
      assert.ok(kinds.has(kind), `${kind} is not among ${[...kinds]}`);
    }
    assert.ok(!kinds.has("error"));
    assert.deepEqual(called, turns.flat());
    assert.ok((await result.text).includes("ясно ☀️"));
  });
});

each("tools that are demanded or forbidden", async ({ upstream }) => {
  await byEach(upstream.model, async (model) => {
    const set = { get_time: tools().set.get_time };
    for (const toolChoice of ["required", { type: "tool", toolName: "get_time" }]) {
      const { toolCalls } = await generateText({ model, tools: set, toolChoice, prompt: "Hello" });
      assert.deepEqual(
        toolCalls.map(({ toolName, input }) => [toolName, input]),
        [["get_time", { zone: "Europe/Moscow" }]],
      );
    }
    const { toolCalls, text } = await generateText({ model, tools: set, toolChoice: "none", prompt: "Say get_time" });
    assert.deepEqual(toolCalls, []);
    assert.ok(text.endsWith("Say get_time"));
  });
});

each("generateObject", async ({ upstream }) => {
  await byEach(upstream.model, async (model) => {
    const { object } = await generateObject({ model, schema: TOWN, prompt: "A town, please" });
    assert.deepEqual(object, SAMPLE);
    const { output } = await generateText({ model, output: Output.object({ schema: TOWN }), prompt: "A town, please" });
    assert.deepEqual(output, SAMPLE);
  });
});

each("an object without a schema", async ({ upstream }) => {
  await byEach(upstream.model, async (model) => {
    const { object } = await generateObject({ model, output: "no-schema", prompt: "Something in JSON" });
    assert.ok(object.said.includes("Something in JSON"));
  });
});

each("streamObject", async ({ upstream }) => {
  await byEach(upstream.model, async (model) => {
    const result = streamObject({ model, schema: TOWN, prompt: "A town, please" });
    let parts = 0;
    for await (const _ of result.partialObjectStream) parts += 1;
    assert.ok(parts > 0);
    assert.deepEqual(await result.object, SAMPLE);
  });
});

check("embed", async () => {
  for (const { embedder, size } of Object.values(named)) {
    if (!embedder) continue;
    for (const model of [openai.embedding(embedder), compatible.embeddingModel(embedder)]) {
      const { embedding, usage } = await embed({ model, value: EXACT });
      assert.equal(embedding.length, size);
      assert.ok(usage.tokens > 0);
      const { embeddings } = await embedMany({ model, values: [EXACT, "second"] });
      assert.equal(embeddings.length, 2);
      embeddings[0].forEach((number, at) => assert.ok(Math.abs(number - embedding[at]) < 1e-6));
    }
  }
});

check("a picture is drawn", async () => {
  for (const model of [openai.image("openai/gpt-image-1"), compatible.imageModel("openai/gpt-image-1")]) {
    const { image } = await generateImage({ model, prompt: "A hedgehog" });
    assert.equal(image.mediaType, "image/png");
    assert.ok(image.uint8Array.length > 0);
  }
});

check("sound is heard", async () => {
  const audio = new TextEncoder().encode("RIFF\x24\0\0\0WAVEfmt ");
  const { text } = await transcribe({ model: openai.transcription("openai/whisper-1"), audio });
  assert.ok(text.includes("You said: "));
});

check("thoughts are told", async () => {
  const prompt = "[[think:3]] Hello";
  const summaries = { openai: { reasoningSummary: "auto", forceReasoning: true } };
  for (const [model, providerOptions] of [
    [openai.responses("llamacpp/qwen3-8b"), summaries],
    [compatible("llamacpp/qwen3-8b"), {}],
  ]) {
    const { text, reasoningText } = await generateText({ model, prompt, providerOptions });
    assert.equal(reasoningText, "one step more");
    assert.equal(said(text), "Hello");
    const streamed = streamText({ model, prompt, providerOptions });
    await streamed.consumeStream();
    assert.equal(await streamed.reasoningText, "one step more");
  }
});

check("thoughts between calls", async () => {
  const prompt = `[[think:3]] ${ASKED}`;
  const providerOptions = { openai: { store: false, forceReasoning: true } };
  for (const model of [openai.responses("llamacpp/qwen3-8b"), compatible("llamacpp/qwen3-8b")]) {
    const { called, set } = tools();
    const stopWhen = isStepCount(5);
    const result = await generateText({ model, tools: set, prompt, stopWhen, providerOptions });
    assert.deepEqual(called, ["get_weather", "get_time"]);
    assert.ok(result.text.includes("ясно ☀️"), result.text);
  }
});

check("thoughts between calls by references", async () => {
  const { called, set } = tools();
  const model = openai.responses("llamacpp/qwen3-8b");
  const providerOptions = { openai: { forceReasoning: true } };
  const prompt = `[[think:3]] ${ASKED}`;
  await generateText({ model, tools: set, prompt, stopWhen: isStepCount(5), providerOptions });
  assert.deepEqual(called, ["get_weather", "get_time"]);
});

check("a picture is looked at", async () => {
  await byEach(named.openai.model, async (model) => {
    const image = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
    const content = [
      { type: "text", text: "What is it?" },
      { type: "file", data: image, mediaType: "image/png" },
    ];
    const { text } = await generateText({ model, messages: [{ role: "user", content }] });
    assert.ok(text);
    const { requests } = await sandbox.call("GET", "seen");
    const [{ content: sent }] = requests.at(-1).body.messages;
    assert.equal(sent[1].image_url.url, "data:image/png;base64,iVBORw0KGgo=");
  });
});

check("errors have their status and message", async () => {
  await byEach("no/such", async (model) => {
    await assert.rejects(generateText({ model, prompt: "Hello" }), (error) => {
      assert.ok(APICallError.isInstance(error), `${error}`);
      assert.equal(error.statusCode, 404);
      assert.match(error.message, /no\/such/);
      assert.equal(error.isRetryable, false);
      return true;
    });
  });
  const stranger = createOpenAI({ baseURL, apiKey: "sk-wrong" });
  await assert.rejects(generateText({ model: stranger(named.openai.model), prompt: "Hello" }), { statusCode: 401 });
});

each("a failing provider", async ({ upstream: { model: name, simulator, path } }) => {
  await byEach(name, async (model) => {
    await sandbox.fault("server_error", simulator, { times: null, match: { path } });
    await assert.rejects(generateText({ model, prompt: "Hello", maxRetries: 0 }), (error) => {
      assert.ok(APICallError.isInstance(error), `${error}`);
      assert.equal(error.statusCode, 502);
      assert.equal(error.isRetryable, true);
      return true;
    });
    await sandbox.clear();
  });
});

const breaks = async (model, { simulator, path, early }) => {
  await sandbox.fault("cut", simulator, { after: early, match: { path } });
  const result = streamText({ model, prompt: "[[words:60]]", maxRetries: 0, onError() {} });
  const errors = [];
  let told = "";
  for await (const part of result.fullStream) {
    if (part.type === "error") errors.push(part.error);
    if (part.type === "text-delta") told += part.text;
  }
  assert.ok(told.startsWith("one"));
  assert.ok(told.split(" ").length < 60);
  assert.equal(errors.length, 1, "errors in the stream");
};

each("a stream that breaks", async ({ upstream }) => {
  await byEach(upstream.model, (model) => breaks(model, upstream), ["chat", "compatible"]);
});

each("a stream of Responses that breaks", async ({ upstream }) => {
  await byEach(upstream.model, (model) => breaks(model, upstream), ["responses"]);
});

each("aborting a stream", async ({ upstream }) => {
  await byEach(upstream.model, async (model) => {
    await sandbox.clear();
    const controller = new AbortController();
    const result = streamText({ model, prompt: LONG, abortSignal: controller.signal, onError() {} });
    let pieces = 0;
    for await (const part of result.fullStream) {
      if (part.type === "text-delta") pieces += 1;
      if (pieces === 2) controller.abort();
    }
    assert.ok(pieces < 100);
    await sandbox.sawAClientLeave();
  });
});

await run();
