/** Texts of form fields and the values that they mean: parameters by their type, settings by their rule. Pure functions. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IParameter, ISettingRule } from './types';

/** A value, or why the text is none. */
export type Read = { value: unknown } | { problem: string };

/** The text that stands for a value in a field. */
export function shown(value: unknown, kind: string): string {
  if (value === null || value === undefined) {
    return '';
  }
  if (kind === 'map') {
    return Object.entries(value as Record<string, unknown>)
      .map(([name, each]) => `${name}=${each}`)
      .join('\n');
  }
  if (kind === 'list' && Array.isArray(value) && value.every(each => typeof each === 'string' && !/[\n,"]/.test(each))) {
    return JSON.stringify(value);
  }
  return typeof value === 'string' && kind !== 'any' ? value : JSON.stringify(value);
}

/** Reads a parameter's field. An empty field of an optional parameter is null; else it is not allowed, but for a text. */
export function readParameter(text: string, parameter: IParameter, trans: TranslationBundle): Read {
  const { kind } = parameter;
  if (text.trim() === '' && kind !== 'str') {
    return parameter.optional ? { value: null } : { problem: trans.__('Give a value: %1.', parameter.type) };
  }
  if (kind === 'str') {
    return text === '' && parameter.optional && parameter.default === null ? { value: null } : { value: text };
  }
  if (kind === 'int' || kind === 'float') {
    const number = Number(text);
    if (!Number.isFinite(number) || (kind === 'int' && !Number.isInteger(number))) {
      return { problem: kind === 'int' ? trans.__('This takes a whole number.') : trans.__('This takes a number.') };
    }
    if (kind === 'int' && !Number.isSafeInteger(number)) {
      return { problem: trans.__('The number is too large to be sent exactly; write it in the notebook.') };
    }
    return outside(number, parameter.bounds ?? {})
      ? { problem: trans.__('This takes %1.', parameter.type) }
      : { value: number };
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: trans.__('Write it as JSON, such as %1.', kind === 'dict' ? '{"a": 1}' : '[1, 2]') };
  }
  const isDict = typeof value === 'object' && value !== null && !Array.isArray(value);
  if ((kind === 'list' && !Array.isArray(value)) || (kind === 'dict' && !isDict)) {
    return { problem: kind === 'list' ? trans.__('This takes a list: [1, 2].') : trans.__('This takes a dict: {"a": 1}.') };
  }
  return { value };
}

function outside(number: number, bounds: NonNullable<IParameter['bounds']>): boolean {
  const { ge, gt, le, lt } = bounds;
  return (
    (ge !== undefined && number < ge) ||
    (gt !== undefined && number <= gt) ||
    (le !== undefined && number > le) ||
    (lt !== undefined && number >= lt)
  );
}

/** Reads a setting's field; null is the default. */
export function readSetting(text: string, rule: ISettingRule, trans: TranslationBundle): Read {
  const given = text.trim();
  if (given === '') {
    return { value: null };
  }
  if (rule.type === 'number' || rule.type === 'integer') {
    const number = Number(given);
    if (!Number.isFinite(number) || number < 0 || (rule.type === 'integer' && !Number.isInteger(number))) {
      return { problem: rule.type === 'integer' ? trans.__('A whole number, 0 or more.') : trans.__('A number above 0.') };
    }
    return { value: number === rule.default ? null : number };
  }
  if (rule.type === 'map') {
    const pairs = given.split('\n').filter(line => line.trim() !== '');
    const wrong = pairs.find(line => !/^\s*[A-Za-z_]\w*\s*=/.test(line));
    if (wrong) {
      return { problem: trans.__('Write NAME=value, one a line, not "%1".', wrong) };
    }
    const entries = pairs.map(line => [line.slice(0, line.indexOf('=')).trim(), line.slice(line.indexOf('=') + 1).trim()]);
    return { value: Object.fromEntries(entries) };
  }
  if (rule.type === 'list') {
    return { value: [...new Set(given.split(/[\s,]+/).filter(Boolean))] };
  }
  // cpu and gpu take numbers and texts such as 500m.
  return { value: /^\d+(\.\d+)?$/.test(given) && rule.name !== 'memory' && rule.name !== 'image' ? Number(given) : given };
}
