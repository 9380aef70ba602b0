// The Anthropic SDK for JavaScript against the simulator.

import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { VERSION } from '@anthropic-ai/sdk/version';

const { SIM_ORIGIN, SIM_KEY, SIM_LIMITED_ORIGIN } = process.env;
const connect = (baseURL, apiKey) => new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const client = connect(SIM_ORIGIN, SIM_KEY);

const request = (prompt, more = {}) => ({
  model: 'writer',
  max_tokens: 400,
  messages: [{ role: 'user', content: prompt }],
  ...more,
});
const weather = {
  name: 'get_weather',
  description: 'Current weather of a city',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};

const checks = {
  async plain() {
    const answer = await client.messages.create(request('List 3 titles for an article about tidal power.'));
    assert.equal(answer.content[0].text.split('\n').length, 3);
    assert.equal(answer.stop_reason, 'end_turn');
    assert.match(answer._request_id, /^req_/);
  },

  async streaming() {
    const body = request('Write a paragraph about lighthouses.');
    let text = '';
    const stream = client.messages.stream(body).on('text', (piece) => (text += piece));
    const final = await stream.finalMessage();
    const whole = await client.messages.create(body);
    assert.equal(text, whole.content[0].text);
    assert.deepEqual(final.content, whole.content);
    assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
  },

  async tools() {
    const body = request('What is the weather in both Paris and Oslo?', { tools: [weather] });
    const plain = await client.messages.create(body);
    assert.deepEqual(plain.content.map((block) => block.input), [{ city: 'Paris' }, { city: 'Oslo' }]);
    const streamed = await client.messages.stream(body).finalMessage();
    assert.deepEqual(streamed.content.map(({ id, input }) => [id, input]), plain.content.map(({ id, input }) => [id, input]));
    const results = plain.content.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: '18 degrees' }));
    const messages = [...body.messages, { role: 'assistant', content: plain.content }, { role: 'user', content: results }];
    assert.match((await client.messages.create({ ...body, messages })).content[0].text, /18 degrees/);
  },

  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.deepEqual(names, ['writer', 'echo', 'text-embedding-3-small']);
  },

  async errors() {
    await assert.rejects(client.messages.create(request('hi', { model: 'claude-9' })), Anthropic.NotFoundError);
    const stranger = connect(SIM_ORIGIN, 'sk-wrong-9876543210');
    await assert.rejects(stranger.messages.create(request('hi')), Anthropic.AuthenticationError);
    await assert.rejects(client.messages.create(request('hi', { messages: [] })), Anthropic.BadRequestError);
    const limited = connect(SIM_LIMITED_ORIGIN, 'any');
    await limited.messages.create(request('hi'));
    await assert.rejects(limited.messages.create(request('hi')), Anthropic.RateLimitError);
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log(`ok  anthropic ${VERSION} (JavaScript): ${name}`);
}
