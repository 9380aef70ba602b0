// The OpenAI SDK for JavaScript against the simulator.

import assert from 'node:assert/strict';
import Ajv from 'ajv';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { VERSION } from 'openai/version';
import { z } from 'zod';

const { SIM_ORIGIN, SIM_KEY, SIM_LIMITED_ORIGIN, SIM_TRUNCATING_ORIGIN } = process.env;
const connect = (origin, apiKey) => new OpenAI({ baseURL: `${origin}/v1`, apiKey, maxRetries: 0 });
const client = connect(SIM_ORIGIN, SIM_KEY);

const request = (prompt, more = {}) => ({ model: 'writer', messages: [{ role: 'user', content: prompt }], ...more });
const ask = (prompt, more) => client.chat.completions.create(request(prompt, more));
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Current weather of a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

const checks = {
  async chat() {
    const answer = await ask('List 3 titles for an article about tidal power.');
    assert.equal(answer.choices[0].message.content.split('\n').length, 3);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.match(answer._request_id, /^req_/);
  },

  async streaming() {
    const prompt = 'Write a paragraph about lighthouses.';
    let text = '';
    let usage;
    for await (const chunk of await ask(prompt, { stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, (await ask(prompt)).choices[0].message.content);
    assert.ok(usage.completion_tokens > 0);
  },

  async tools() {
    const body = request('What is the weather in both Paris and Oslo?', { tools: [weather] });
    const plain = (await client.chat.completions.create(body)).choices[0].message.tool_calls;
    assert.deepEqual(plain.map((call) => JSON.parse(call.function.arguments).city), ['Paris', 'Oslo']);
    const streamed = await client.chat.completions.stream(body).finalChatCompletion();
    const calls = streamed.choices[0].message.tool_calls;
    assert.deepEqual(calls.map(({ id }) => id), plain.map(({ id }) => id));
    assert.deepEqual(calls.map((call) => call.function.arguments), plain.map((call) => call.function.arguments));
  },

  async structuredOutput() {
    const Recipe = z.object({
      title: z.string(),
      steps: z.array(z.object({ explanation: z.string(), minutes: z.number() })),
      source: z.string().nullable(),
    });
    const format = zodResponseFormat(Recipe, 'recipe');
    const answer = await client.chat.completions.parse(request('A recipe for bread.', { response_format: format }));
    assert.ok(answer.choices[0].message.parsed.steps.length > 0);
    const schema = { type: 'object', properties: { score: { type: 'integer', minimum: 3, maximum: 4 } }, required: ['score'] };
    const response_format = { type: 'json_schema', json_schema: { name: 'score', schema } };
    const raw = await ask('Score this.', { response_format });
    assert.ok(new Ajv().validate(schema, JSON.parse(raw.choices[0].message.content)));
  },

  async completions() {
    const answer = await client.completions.create({ model: 'echo', prompt: ['first', 'second'] });
    assert.deepEqual(answer.choices.map((choice) => choice.text.slice(9)), ['first', 'second']);
  },

  async embeddings() {
    // The SDK asks for base64 and decodes it.
    const body = { model: 'text-embedding-3-small', input: ['tides', 'bread'], dimensions: 64 };
    const packed = await client.embeddings.create(body);
    const plain = await client.embeddings.create({ ...body, encoding_format: 'float' });
    packed.data.forEach(({ embedding }, index) => {
      assert.equal(embedding.length, 64);
      embedding.forEach((number, at) => assert.ok(Math.abs(number - plain.data[index].embedding[at]) < 1e-6));
    });
  },

  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.deepEqual(names, ['writer', 'echo', 'text-embedding-3-small']);
    assert.equal((await client.models.retrieve('echo')).id, 'echo');
  },

  async errors() {
    await assert.rejects(ask('hi', { model: 'gpt-9' }), OpenAI.NotFoundError);
    await assert.rejects(connect(SIM_ORIGIN, 'sk-wrong-9876543210').models.list(), OpenAI.AuthenticationError);
    await assert.rejects(ask('hi', { messages: [] }), OpenAI.BadRequestError);
    const limited = connect(SIM_LIMITED_ORIGIN, 'any');
    await limited.chat.completions.create(request('hi'));
    await assert.rejects(limited.chat.completions.create(request('hi')), OpenAI.RateLimitError);
    const truncating = connect(SIM_TRUNCATING_ORIGIN, 'any');
    await assert.rejects(truncating.chat.completions.create(request('hi')));
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log(`ok  openai ${VERSION} (JavaScript): ${name}`);
}
