'use strict'

// The programs whose lives `lifecycle.test.js` watches: node programs.js NAME [USER] [ARGUMENTS].
//
// A mail server starts as root and goes on as somebody else; the library works differently in both.

const cluster = require('node:cluster')
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads')
const { setTimeout: sleep } = require('node:timers/promises')

const { counters, silence } = require('./lab')

const NOBODY = 65_534

function become(user) {
  if (user !== 'nobody') return
  process.setgid(NOBODY)
  process.setuid(NOBODY)
}

const say = (value) => fs.writeSync(1, `${JSON.stringify(value)}\n`)

// How many threads of this process are the addon's, once those that are ending are gone. (Those of the library have
// another name, and may still ask the network for the cache's sake.)
async function threads(expected) {
  for (let left = 100; ; left--) {
    const tasks = fs.readdirSync('/proc/self/task')
    const names = tasks.map((task) => {
      try {
        return fs.readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim()
      } catch {
        return ''
      }
    })
    const count = names.filter((each) => each === 'mtasts-wait').length
    if (count === expected || left === 0) return count
    await sleep(50)
  }
}

const descriptors = () => fs.readdirSync('/proc/self/fd').length

// Lookups that complete one after the other, and some that never do.
async function load(many = 400, silent) {
  const { Resolver } = require('..')
  const never = new Resolver({ nameservers: [silent ?? (await silence())] })
  const resolver = new Resolver()
  const lookups = []
  for (let n = 0; n < many; n++) {
    lookups.push(n % 4 === 0 ? never.lookup(`d${n}.test`) : resolver.lookup(`d${n}.good.test`))
  }
  return lookups
}

const programs = {
  // What is learnt of domains, given as JSON.
  async answers(domains) {
    const { Resolver } = require('..')
    const lines = []
    const resolver = new Resolver({ log: (line) => lines.push(line) })
    const answers = await Promise.all(JSON.parse(domains).map((domain) => resolver.lookup(domain, { timeout: 20_000 })))
    say({ answers, lines })
  },

  // What becomes of mail by a settings file whose roots cannot be read, and when they can.
  async rootless(config, ca) {
    const { Resolver } = require('..')
    const resolver = new Resolver({ config })
    const failed = ({ name, code, message }) => ({ name, code, message })
    const lookup = (domain) => resolver.lookup(domain).then(({ mode, source }) => ({ mode, source }), failed)
    const check = () => {
      try {
        return resolver.verifyCertificate('mx.good.test', [])
      } catch (error) {
        return failed(error)
      }
    }
    say({ lookups: [await lookup('good.test'), await lookup('good.test')], check: check() })
    say({ other: await lookup('nopolicy.test'), questions: Object.keys(counters().dns) })
    // That takes a user who may write.
    if (process.getuid() !== 0) return
    fs.writeFileSync(resolver.caFile, fs.readFileSync(ca), { mode: 0o644 })
    say({ lookup: await lookup('good.test'), check: check() })
  },

  // Leaves while lookups are under way and complete.
  async exit(delay) {
    const lookups = await load()
    for (const lookup of lookups) lookup.catch(() => {})
    await sleep(Number(delay))
    process.exit(7)
  },

  // Nothing but the lookups keeps it alive.
  async ends() {
    const { Resolver } = require('..')
    globalThis.resolver = new Resolver()
    const domains = ['good.test', 'testing.test', 'nopolicy.test']
    const answers = await Promise.all(domains.map((domain) => globalThis.resolver.lookup(domain)))
    say(answers.map(({ mode }) => mode))
    const done = Date.now()
    process.on('exit', () => say({ idle: Date.now() - done }))
  },

  // A lookup that takes its time, and is all that there is.
  async waits() {
    const { Resolver } = require('..')
    const resolver = new Resolver({ nameservers: [await silence()] })
    const begun = Date.now()
    // Not awaited: a pending promise alone does not keep Node alive.
    resolver.lookup('never.test', { timeout: 2000 }).then(
      ({ source }) => say({ source, after: Date.now() - begun }),
      ({ code }) => say({ code, after: Date.now() - begun }),
    )
  },

  async lazy() {
    const names = { before: descriptors() }
    const { Resolver } = require('..')
    const resolver = new Resolver()
    names.made = [await threads(0), descriptors() - names.before]
    resolver.lookupCached('good.test')
    names.cached = [await threads(0), descriptors() - names.before]
    await resolver.lookup('good.test')
    names.fetched = await threads(1)
    const open = descriptors()
    const others = Array.from({ length: 50 }, () => new Resolver())
    await Promise.all(others.map((each, n) => each.lookup(`other${n}.good.test`)))
    names.more = [await threads(1), descriptors() > open]
    for (const each of others) each.close()
    // A worker may still hold one.
    for (let left = 100; left > 0 && descriptors() > open; left--) await sleep(50)
    names.closed = descriptors() - open
    delete names.before
    say(names)
  },

  // Resolvers that nobody has any more take their descriptors with them.
  async collected() {
    const { Resolver } = require('..')
    await new Resolver().lookup('good.test')
    const before = descriptors()
    await (async () => {
      const many = Array.from({ length: 200 }, () => new Resolver())
      await Promise.all(many.map((each, n) => each.lookup(`n${n}.good.test`)))
    })()
    const open = descriptors()
    for (let turn = 0; turn < 50 && descriptors() > before; turn++) {
      globalThis.gc()
      await sleep(20)
    }
    say({ open: open - before, left: descriptors() - before })
  },

  // A lookup nobody holds the resolver of completes all the same.
  async dropped() {
    const { Resolver } = require('..')
    const lookup = (() => new Resolver({ log() {} }).lookup('good.test'))()
    for (let turn = 0; turn < 20; turn++) {
      globalThis.gc()
      await sleep(5)
    }
    say((await lookup).mode)
  },

  // Workers that are ended in the middle of their lookups. The main thread has never loaded the addon. The name server
  // that does not answer is its: Node.js aborts where a worker is ended while a socket of that worker receives.
  async terminated(times, many) {
    const silent = await silence()
    for (let n = 0; n < Number(times); n++) {
      const worker = new Worker(__filename, { workerData: ['load', Number(many), silent] })
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
      await sleep((n % 8) * 8)
      await worker.terminate()
    }
    say({ threads: await threads(0), mode: (await require('..').lookup('good.test')).mode })
  },

  // Workers side by side, each with lookups of its own, that end by themselves.
  async workers(many) {
    const workers = Array.from({ length: Number(many) }, (_, n) => new Worker(__filename, { workerData: ['asks', n] }))
    const ends = workers.map(async (worker) => {
      const said = []
      worker.on('message', (message) => said.push(message))
      return new Promise((resolve, reject) =>
        worker.once('error', reject).once('exit', (code) => resolve({ code, said })),
      )
    })
    say({ ends: await Promise.all(ends), threads: await threads(0) })
  },

  async cluster(many) {
    if (cluster.isPrimary) {
      const workers = Array.from({ length: Number(many) }, () => cluster.fork())
      const said = workers.map((worker) => new Promise((resolve) => worker.once('message', resolve)))
      const ends = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)))
      say({ said: await Promise.all(said), ends: await Promise.all(ends) })
      return
    }
    process.send(await asks(), () => process.disconnect())
  },

  // What a log throws is no lookup's affair.
  async badlog() {
    const { Resolver } = require('..')
    process.on('uncaughtException', (error) => say({ uncaught: error.message }))
    const resolver = new Resolver({
      cacheDir: '/proc/nowhere',
      log() {
        throw new Error('the log is full')
      },
    })
    say(
      await resolver.lookup('good.test').then(
        (answer) => answer.mode,
        (error) => error.code,
      ),
    )
  },

  // No descriptor is left for the queue.
  async exhausted() {
    const { Resolver } = require('..')
    const resolver = new Resolver()
    await resolver.lookup('good.test')
    const other = new Resolver()
    const open = []
    try {
      for (;;) open.push(fs.openSync('/dev/null', 'r'))
    } catch {
      // All taken.
    }
    const failed = await other.lookup('testing.test').catch((error) => ({ code: error.code, name: error.name }))
    for (const each of open) fs.closeSync(each)
    say({ failed, after: (await other.lookup('testing.test')).mode })
  },

  // How many turns the loop has while domains are looked up that are in the cache.
  async cached(how, many) {
    const { Resolver } = require('..')
    const resolver = new Resolver()
    await resolver.lookup('good.test')
    const cache = path.join(process.env.MTASTS_LAB_DIR, 'cache')
    // A file of the cache begins with a checksum of the rest (docs/cache.md).
    const [, rest] = fs.readFileSync(path.join(cache, 'good.test'), 'utf8').split(/^mtasts 1 .*\n/)
    const names = Array.from({ length: Number(many) }, (_, n) => `d${n}.test`)
    for (const name of names) {
      const body = rest.replaceAll('good.test', name)
      const checksum = createHash('sha256').update(body).digest('hex')
      fs.writeFileSync(path.join(cache, name), `mtasts 1 ${checksum}\n${body}`)
    }
    let answers = 0
    let turns = 0
    const count = ({ source }) => (answers += source === 'cached' ? 1 : 0)
    const ticks = setInterval(() => (turns += 1), 1)
    if (how === 'at once') await Promise.all(names.map((name) => resolver.lookup(name).then(count)))
    else for (const name of names) count(await resolver.lookup(name))
    clearInterval(ticks)
    say({ answers, turns })
  },

  // How long a file waits while lookups are under way, and the loop while they complete, all at once.
  async pool(many) {
    const { Resolver } = require('..')
    const resolver = new Resolver({ nameservers: [await silence()], cacheDir: null })
    const read = async () => {
      const begun = performance.now()
      await fs.promises.readFile(__filename)
      return performance.now() - begun
    }
    const alone = []
    for (let n = 0; n < 50; n++) alone.push(await read())
    let underWay = 0
    const begun = performance.now()
    const lookups = Array.from({ length: Number(many) }, async (_, n) => {
      underWay += 1
      await resolver.lookup(`d${n}.test`, { timeout: 6000 })
      underWay -= 1
    })
    const submitted = performance.now() - begun
    const meanwhile = []
    const least = underWay
    for (let n = 0; n < 50; n++) meanwhile.push(await read())
    const still = underWay
    let stood = 0
    let last = performance.now()
    const ticks = setInterval(() => {
      stood = Math.max(stood, performance.now() - last)
      last = performance.now()
    }, 1)
    const outcomes = await Promise.allSettled(lookups)
    clearInterval(ticks)
    // Most of them were never begun, and what was not asked has no answer.
    const codes = [...new Set(outcomes.map(({ reason }) => reason?.code ?? 'answered'))].sort()
    say({ least, still, submitted, alone: Math.max(...alone), meanwhile: Math.max(...meanwhile), stood, codes })
  },
}

async function asks() {
  const { lookup } = require('..')
  const answers = await Promise.all(['good.test', 'testing.test', 'nopolicy.test'].map((domain) => lookup(domain)))
  return answers.map(({ mode }) => mode)
}

// What a worker does.
const inWorker = {
  async load(many, silent) {
    const lookups = await load(many, silent)
    for (const lookup of lookups) lookup.catch(() => {})
    parentPort.postMessage('under way')
  },
  async asks() {
    parentPort.postMessage(await asks())
  },
}

if (isMainThread) {
  const [name, user, ...args] = process.argv.slice(2)
  become(user)
  programs[name](...args)
} else {
  inWorker[workerData[0]](...workerData.slice(1))
}
