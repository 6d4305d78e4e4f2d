// Browsers and Node have it, jsdom does not.
const { deserialize, serialize } = require('node:v8');

globalThis.structuredClone ??= value => deserialize(serialize(value));
