'use strict'

const addon = require('./addon')
const { call, mustBeString, wrongType } = require('./error')

const date = (time) => (time === null ? null : new Date(time))

// The answer of a lookup. It never changes.
class Answer {
  #answer

  constructor(answer) {
    if (!(answer instanceof addon.Answer)) throw new TypeError('an Answer is what a lookup gives')
    this.#answer = answer
  }

  get domain() {
    return this.#answer.domain
  }

  get mode() {
    return this.#answer.mode
  }

  get source() {
    return this.#answer.source
  }

  get id() {
    return this.#answer.id
  }

  get fetched() {
    return date(this.#answer.fetched)
  }

  get expires() {
    return date(this.#answer.expires)
  }

  get deferUntil() {
    return date(this.#answer.deferUntil)
  }

  get mx() {
    return Object.freeze(this.#answer.mx)
  }

  get policyText() {
    return this.#answer.policyText
  }

  get result() {
    return this.#answer.result
  }

  get detail() {
    return this.#answer.detail
  }

  get warning() {
    return this.#answer.warning
  }

  get explanation() {
    return this.#answer.explanation
  }

  allowsMx(host) {
    mustBeString('host', host)
    return this.#answer.allowsMx(host)
  }

  verdict(host, seen) {
    mustBeString('host', host)
    if (typeof seen?.kind !== 'string') throw wrongType('seen', 'an object with a kind', seen)
    const { kind, result, reason } = seen
    return call(() => this.#answer.verdict(host, kind, result ?? null, String(reason ?? '')))
  }

  toJSON() {
    const { domain, mode, source, id, fetched, expires, deferUntil, mx } = this
    const { policyText, result, detail, warning, explanation } = this
    return {
      domain,
      mode,
      source,
      id,
      fetched,
      expires,
      deferUntil,
      mx,
      policyText,
      result,
      detail,
      warning,
      explanation,
    }
  }

  [Symbol.for('nodejs.util.inspect.custom')](depth, options, inspect) {
    return depth < 0 ? '[Answer]' : `Answer ${inspect(this.toJSON(), options)}`
  }
}

module.exports = { Answer }
