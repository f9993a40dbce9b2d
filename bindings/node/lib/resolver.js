'use strict'

const addon = require('./addon')
const { Answer, withAddon } = require('./answer')
const { MtaStsError, call, mustBeString, wrongType } = require('./error')
const poller = require('./poller')
const turn = require('./turn')

// So many completions are taken in one turn of the event loop.
const BATCH = 250
// The longest time limit, about 49 days; the setting `timeout` is shorter.
const LONGEST = 2 ** 32 - 1
// The settings whose numbers are no milliseconds.
const COUNTS = ['cacheMax', 'cacheMaxPerParent']

// The settings as the library has them: names as in mtasts.toml, values as texts.
function entries(settings) {
  const ours = ['config', 'log']
  const given = Object.entries(settings).filter(([key, value]) => value !== undefined && !ours.includes(key))
  return given.map(([key, value]) => [key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), text(key, value)])
}

function text(key, value) {
  if (value === null) return ''
  if (Array.isArray(value)) return value.join(' ')
  const isTime = typeof value === 'number' && !COUNTS.includes(key)
  return isTime ? `${value / 1000}s` : String(value)
}

// The questions for hosts under way, each of which has a thread, and those that wait for one.
const MOST = 64
let asking = 0
const waiting = []

function ended() {
  asking -= 1
  waiting.shift()?.()
}

// A time limit as the addon takes it. Without any time there is still what is known.
function limit(timeout) {
  if (timeout === undefined) return null
  if (typeof timeout !== 'number' || Number.isNaN(timeout)) throw wrongType('options.timeout', 'a number', timeout)
  return Math.ceil(Math.min(Math.max(timeout, 0), LONGEST))
}

function mustBeChain(chain) {
  if (Array.isArray(chain) && chain.every((der) => der instanceof Uint8Array)) return
  throw wrongType('chain', 'an array of Buffers, each a certificate in DER', chain)
}

const cancelled = () => new MtaStsError('ERR_MTASTS_CANCELLED', 'the resolver was closed')

// Looks policies up, with settings and a cache.
class Resolver {
  #addon
  #log
  #number = poller.number()
  // The lookups under way, by their numbers.
  #pending = new Map()

  constructor(settings = {}) {
    if (settings === null || typeof settings !== 'object') throw wrongType('settings', 'an object', settings)
    const { config, log } = settings
    if (config != null) mustBeString('settings.config', config)
    if (log !== undefined && typeof log !== 'function') throw wrongType('settings.log', 'a function', log)
    const file = config === null ? '' : config
    this.#addon = call(() => new addon.Resolver(file, entries(settings), log !== undefined))
    this.#log = log
  }

  get caFile() {
    this.#mustBeOpen()
    return this.#addon.caFile
  }

  async lookup(domain, options) {
    return this.#ask(domain, false, options)
  }

  async recheck(domain, options) {
    return this.#ask(domain, true, options)
  }

  lookupCached(domain) {
    mustBeString('domain', domain)
    this.#mustBeOpen()
    const answer = call(() => this.#addon.lookupCached(domain))
    this.#tell()
    return new Answer(answer)
  }

  checkCache() {
    this.#mustBeOpen()
    return call(() => this.#addon.checkCache())
  }

  async hosts(domain, hosts = [], { timeout } = {}) {
    mustBeString('domain', domain)
    if (!Array.isArray(hosts)) throw wrongType('hosts', 'an array of strings', hosts)
    for (const host of hosts) mustBeString('hosts[]', host)
    const time = limit(timeout)
    this.#mustBeOpen()
    while (asking >= MOST) await new Promise((resolve) => waiting.push(resolve))
    this.#mustBeOpen()
    return new Promise((resolve, reject) => {
      const done = ({ hosts: found, code, message, lines }) => {
        ended()
        this.#say(lines)
        if (found) resolve(found)
        else reject(new MtaStsError(code, message))
      }
      asking += 1
      try {
        const found = call(() => this.#addon.hosts(domain, hosts, time, done))
        this.#tell()
        if (!found) return
        ended()
        resolve(found)
      } catch (error) {
        ended()
        reject(error)
      }
    })
  }

  // For an attempt, which needs the addon behind this.
  [withAddon](body, chain = []) {
    mustBeChain(chain)
    this.#mustBeOpen()
    const verdict = body(this.#addon)
    this.#tell()
    return verdict
  }

  verifyCertificate(host, chain, at) {
    mustBeString('host', host)
    mustBeChain(chain)
    if (at !== undefined && !(at instanceof Date && at.getTime() >= 1000)) {
      throw wrongType('at', 'a Date after 1970', at)
    }
    this.#mustBeOpen()
    const seconds = at === undefined ? null : Math.floor(at / 1000)
    return call(() => this.#addon.verifyCertificate(host, chain, seconds))
  }

  close() {
    if (!this.#addon) return
    this.#addon.close()
    this.#addon = undefined
    this.#failAll(cancelled())
  }

  #mustBeOpen() {
    if (!this.#addon) throw new MtaStsError('ERR_MTASTS_CLOSED', 'the resolver is closed')
  }

  async #ask(domain, recheck, { timeout, signal } = {}) {
    mustBeString('domain', domain)
    const time = limit(timeout)
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw wrongType('options.signal', 'an AbortSignal', signal)
    }
    this.#mustBeOpen()
    signal?.throwIfAborted()
    const later = turn.take()
    if (later) {
      await later
      if (!this.#addon) throw cancelled()
      signal?.throwIfAborted()
    }
    const id = call(() => this.#addon.submit(domain, time, recheck))
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#addon.cancel(id)
        this.#settle(id)
        this.#wait()
        reject(signal.reason)
      }
      signal?.addEventListener('abort', abort)
      this.#pending.set(id, { resolve, reject, leave: () => signal?.removeEventListener('abort', abort) })
      // A hit in the cache is complete already.
      this.#take()
    })
  }

  // Takes what is complete, and sees to it that somebody waits for the rest.
  #take() {
    try {
      for (let taken = 0; taken < BATCH; taken++) {
        const done = call(() => this.#addon.next())
        if (!done) break
        const { id, answer, code, message } = done
        // Of a lookup that was aborted nobody wants to know.
        const lookup = this.#settle(id)
        if (answer) lookup?.resolve(new Answer(answer))
        else lookup?.reject(new MtaStsError(code, message))
      }
      this.#tell()
      this.#wait()
    } catch (error) {
      // No thread, no descriptor: nobody would ever tell of the others.
      this.#failAll(error)
    }
  }

  #settle(id) {
    const lookup = this.#pending.get(id)
    this.#pending.delete(id)
    lookup?.leave()
    return lookup
  }

  #failAll(error) {
    for (const id of [...this.#pending.keys()]) this.#settle(id).reject(error)
    poller.end(this.#number)
  }

  #wait() {
    if (this.#pending.size > 0) poller.wait(this.#number, this.#addon, () => this.#take())
    else poller.end(this.#number)
  }

  // Gives the library's lines to the log. What it throws is its own affair, and no lookup's.
  #tell() {
    if (this.#log) this.#say(addon.lines())
  }

  #say(lines) {
    if (!this.#log) return
    for (const line of lines) queueMicrotask(() => this.#log.call(undefined, line))
  }
}

module.exports = { Resolver }
