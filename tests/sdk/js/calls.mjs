// Every route that the official JavaScript SDKs offer, called once each: `node calls.mjs current|previous URL`,
// results as JSON lines. The same calls under the same names as in calls.py.

const [generation, url] = process.argv.slice(2);
const billing = JSON.parse(process.env.SDK_HEADERS ?? "{}");
const names =
  generation === "current"
    ? ["openai", "@anthropic-ai/sdk", "@google/genai"]
    : ["openai-previous", "anthropic-previous", "genai-previous"];
const [openaiModule, anthropicModule, googleModule] = await Promise.all(names.map((name) => import(name)));
const { default: OpenAI, toFile } = openaiModule;
const { default: Anthropic } = anthropicModule;
const { GoogleGenAI } = googleModule;

const QUESTION = "How are you?";
const MESSAGES = [{ role: "user", content: QUESTION }];
const STATUSES = [400, 401, 402, 403, 404, 413, 429, 500, 503, 529];
const HANG_TIMEOUT_MS = 750;
const TOOL = { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } } } };

const sound = () => toFile(Buffer.alloc(100_000), "sound.mp3", { type: "audio/mpeg" });
const picture = () => toFile(Buffer.alloc(64), "picture.png", { type: "image/png" });
const headers = (call, sim = "") => ({ ...billing, "X-OM-User-Id": call, ...(sim ? { "X-Sim": sim } : {}) });

const openai = new OpenAI({ apiKey: "a-key", baseURL: `${url}/v1`, maxRetries: 0 });
const shim = new OpenAI({ apiKey: "a-key", baseURL: `${url}/v1beta/openai/`, maxRetries: 0 });
const anthropic = new Anthropic({ apiKey: "a-key", baseURL: url, maxRetries: 0 });
const google = new GoogleGenAI({ apiKey: "a-key", httpOptions: { baseUrl: url } });

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

const joined = (items, read) => items.map((item) => read(item) ?? "").join("");
const chat = { model: "gpt-4o", messages: MESSAGES, max_tokens: 64 };
const completion = { model: "gpt-3.5-turbo-instruct", prompt: QUESTION, max_tokens: 64 };
const response = { model: "gpt-5", input: QUESTION, max_output_tokens: 64 };
const image = { model: "gpt-image-1", prompt: QUESTION, quality: "low", size: "1024x1024" };
const heard = async (more = {}) => ({ model: "gpt-4o-transcribe", file: await sound(), ...more });

const openaiCalls = {
  chat: async (c) => (await c.chat.completions.create(chat)).choices[0].message.content,
  chat_stream: async (c) =>
    joined(await all(await c.chat.completions.create({ ...chat, stream: true })), (chunk) =>
      joined(chunk.choices, (choice) => choice.delta.content),
    ),
  completion: async (c) => (await c.completions.create(completion)).choices[0].text,
  completion_stream: async (c) =>
    joined(await all(await c.completions.create({ ...completion, stream: true })), (chunk) => chunk.choices[0].text),
  response: async (c) => (await c.responses.create(response)).output_text,
  response_stream: async (c) =>
    joined(await all(await c.responses.create({ ...response, stream: true })), (event) =>
      event.type === "response.output_text.delta" ? event.delta : "",
    ),
  response_background: async (c) => {
    const begun = await c.responses.create({ ...response, background: true });
    let polled;
    for (let poll = 0; poll < 3; poll += 1) polled = await c.responses.retrieve(begun.id);
    return [begun.status, polled.status, polled.output_text];
  },
  response_input_tokens: async (c) =>
    (await c.post("/responses/input_tokens", { body: { model: "gpt-5", input: QUESTION } })).input_tokens,
  embedding: async (c) =>
    (await c.embeddings.create({ model: "text-embedding-3-small", input: [QUESTION, QUESTION] })).data[1].embedding
      .length,
  embedding_float: async (c) =>
    (
      await c.embeddings.create({
        model: "text-embedding-3-small",
        input: QUESTION,
        encoding_format: "float",
        dimensions: 64,
      })
    ).data[0].embedding.length,
  image: async (c) => Buffer.from((await c.images.generate({ ...image, n: 2 })).data[1].b64_json, "base64").length,
  image_stream: async (c) =>
    (await all(await c.images.generate({ ...image, stream: true, partial_images: 1 }))).map((event) => event.type),
  image_by_size: async (c) =>
    (await c.images.generate({ model: "dall-e-3", prompt: QUESTION, size: "1024x1024" })).data[0].url,
  image_edit: async (c) => (await c.images.edit({ ...image, image: await picture() })).data.length,
  image_edit_stream: async (c) =>
    (await all(await c.images.edit({ ...image, image: await picture(), stream: true }))).map((event) => event.type),
  image_variation: async (c) =>
    (await c.images.createVariation({ model: "dall-e-2", image: await picture(), size: "256x256", n: 2 })).data
      .length,
  transcription: async (c) => (await c.audio.transcriptions.create(await heard())).text,
  transcription_stream: async (c) =>
    joined(await all(await c.audio.transcriptions.create(await heard({ stream: true }))), (event) => event.delta),
  transcription_by_time: async (c) => (await c.audio.transcriptions.create(await heard({ model: "whisper-1" }))).text,
  translation: async (c) => (await c.audio.translations.create(await heard({ model: "whisper-1" }))).text,
  speech: async (c) =>
    (await (await c.audio.speech.create({ model: "tts-1", voice: "alloy", input: QUESTION })).arrayBuffer())
      .byteLength > 0,
  speech_events: async (c) =>
    (
      await (
        await c.audio.speech.create({
          model: "gpt-4o-mini-tts",
          voice: "alloy",
          input: QUESTION,
          stream_format: "sse",
        })
      ).text()
    ).includes("speech.audio.done"),
  moderation: async (c) => (await c.moderations.create({ input: QUESTION })).results[0].flagged,
  models: async (c) => (await c.models.list()).data.length > 0,
  model: async (c) => (await c.models.retrieve("gpt-4o")).id,
  files: async (c) => {
    const file = await c.files.create({ file: await toFile(Buffer.from("{}\n"), "lines.jsonl"), purpose: "batch" });
    const listed = (await c.files.list()).data.some((each) => each.id === file.id);
    const content = await (await c.files.content(file.id)).text();
    const { bytes } = await c.files.retrieve(file.id);
    return [listed, bytes, content, (await c.files.delete(file.id)).deleted];
  },
  batch: async (c) => {
    const line = (custom_id) => JSON.stringify({ custom_id, method: "POST", url: "/v1/chat/completions", body: chat });
    const content = Buffer.from(`${line("one")}\n${line("two")}\n`);
    const file = await c.files.create({ file: await toFile(content, "batch.jsonl"), purpose: "batch" });
    const begun = await c.batches.create({
      input_file_id: file.id,
      endpoint: "/v1/chat/completions",
      completion_window: "24h",
    });
    const done = await c.batches.retrieve(begun.id);
    const lines = (await (await c.files.content(done.output_file_id)).text()).trim().split("\n");
    await c.batches.retrieve(begun.id);
    return [done.status, lines.map((each) => JSON.parse(each).custom_id)];
  },
  tool_call: async (c) =>
    (await c.chat.completions.create({ ...chat, tools: [{ type: "function", function: TOOL }] })).choices[0].message
      .tool_calls[0].function.name,
};

const message = { model: "claude-haiku-4-5", max_tokens: 64, messages: MESSAGES };
const anthropicCalls = {
  message: async (c) => (await c.messages.create(message)).content[0].text,
  message_stream: async (c) => c.messages.stream(message).finalText(),
  count_tokens: async (c) =>
    (await c.messages.countTokens({ model: "claude-haiku-4-5", messages: MESSAGES })).input_tokens,
  anthropic_models: async (c) => (await c.models.list()).data.length > 0,
  message_batch: async (c) => {
    const requests = ["one", "two"].map((custom_id) => ({ custom_id, params: message }));
    const begun = await c.messages.batches.create({ requests });
    const ended = await c.messages.batches.retrieve(begun.id);
    // The SDK would follow `results_url`, past any proxy.
    const raw = await (await c.get(`/v1/messages/batches/${begun.id}/results`).asResponse()).text();
    const results = raw.trim().split("\n");
    return [ended.processing_status, results.map((line) => JSON.parse(line).result.type)];
  },
};

const config = (call, more = {}, sim = "") => ({ httpOptions: { headers: headers(call, sim) }, ...more });
const model = "gemini-2.5-flash";
const googleCalls = {
  generate: async (call) =>
    (await google.models.generateContent({ model, contents: QUESTION, config: config(call, { maxOutputTokens: 64 }) }))
      .text,
  generate_stream: async (call) =>
    joined(
      await all(
        await google.models.generateContentStream({
          model,
          contents: QUESTION,
          config: config(call, { maxOutputTokens: 64 }),
        }),
      ),
      (chunk) => chunk.text,
    ),
  embed: async (call) =>
    (await google.models.embedContent({ model: "gemini-embedding-2", contents: QUESTION, config: config(call) }))
      .embeddings[0].values.length,
  google_count_tokens: async (call) =>
    (await google.models.countTokens({ model, contents: QUESTION, config: config(call) })).totalTokens,
  google_models: async (call) => (await all(await google.models.list({ config: config(call) }))).length > 0,
  cached_generate: async (call) => {
    const cache = await google.caches.create({ model, config: config(call, { contents: QUESTION.repeat(10) }) });
    const answer = await google.models.generateContent({
      model,
      contents: QUESTION,
      config: config(call, { maxOutputTokens: 64, cachedContent: cache.name }),
    });
    await google.caches.delete({ name: cache.name, config: config(call) });
    return [answer.text, answer.usageMetadata.cachedContentTokenCount];
  },
  // The newest generation refuses pictures and videos here by itself.
  imagen: async (call) =>
    (
      await google.models.generateImages({
        model: "imagen-4.0-generate-001",
        prompt: QUESTION,
        config: config(call, { numberOfImages: 2 }),
      })
    ).generatedImages.length,
  veo: async (call) => {
    let operation = await google.models.generateVideos({
      model: "veo-2.0-generate-001",
      prompt: QUESTION,
      config: config(call, { durationSeconds: 6 }),
    });
    for (let poll = 0; poll < 2; poll += 1) {
      operation = await google.operations.getVideosOperation({ operation, config: config(call) });
    }
    return [operation.done, operation.response.generatedVideos.length];
  },
};

async function tell(call, act) {
  const started = performance.now();
  const told = { call };
  try {
    told.answer = await act();
  } catch (error) {
    told.error = error.constructor.name;
    told.bases = [];
    for (let base = error.constructor; base?.name; base = Object.getPrototypeOf(base)) told.bases.push(base.name);
    told.status = error.status ?? null;
    told.message = String(error.message).slice(0, 300);
  }
  told.seconds = Math.round(performance.now() - started) / 1000;
  process.stdout.write(`${JSON.stringify(told)}\n`);
}

async function fail(name, sim, stream = false) {
  const reading = async (answer) => (stream ? (await all(answer)).length : null);
  const options = (call) => ({ headers: headers(call, sim) });
  await tell(`openai_${name}`, async () =>
    reading(await openai.chat.completions.create({ ...chat, stream }, options(`openai_${name}`))),
  );
  await tell(`anthropic_${name}`, async () =>
    reading(await anthropic.messages.create({ ...message, stream }, options(`anthropic_${name}`))),
  );
  await tell(`google_${name}`, async () => {
    const asked = { model, contents: QUESTION, config: config(`google_${name}`, { maxOutputTokens: 64 }, sim) };
    return reading(
      await (stream ? google.models.generateContentStream(asked) : google.models.generateContent(asked)),
    );
  });
}

// A JavaScript SDK's time limit ends with the headers; whoever reads a stream limits it with a signal.
async function hang() {
  const limited = (call) => ({ headers: headers(call, "hang_after=2"), signal: AbortSignal.timeout(HANG_TIMEOUT_MS) });
  await Promise.all([
    tell("openai_stream_hangs", async () =>
      all(await openai.chat.completions.create({ ...chat, stream: true }, limited("openai_stream_hangs"))),
    ),
    tell("anthropic_stream_hangs", async () =>
      all(await anthropic.messages.create({ ...message, stream: true }, limited("anthropic_stream_hangs"))),
    ),
  ]);
}

for (const [name, act] of Object.entries(openaiCalls)) {
  const sim = name === "tool_call" ? "tool_call=1" : "";
  const client = openai.withOptions({ defaultHeaders: headers(name, sim) });
  await tell(name, () => act(client));
}
for (const [name, act] of Object.entries(anthropicCalls)) {
  const client = anthropic.withOptions({ defaultHeaders: headers(name) });
  await tell(name, () => act(client));
}
for (const [name, act] of Object.entries(googleCalls)) await tell(name, () => act(name));
await tell("shim_chat", async () => {
  const client = shim.withOptions({ defaultHeaders: headers("shim_chat", "reasoning=9") });
  return (await client.chat.completions.create({ ...chat, model })).choices[0].message.content;
});
for (const status of STATUSES) await fail(`error_${status}`, `error=${status}`);
await fail("error_in_stream", "error_after=2", true);
await fail("stream_cut", "abort_after=3; interval_ms=20", true);
await fail("stream_ends_early", "clean_end_after=3", true);
await hang();
// A stream that hung may hold its connection.
process.exit(0);
