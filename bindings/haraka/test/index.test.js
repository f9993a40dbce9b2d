'use strict'

// The plugin by itself, in Haraka's test fixtures. What it does to real mail is tested in real/.

const assert = require('node:assert')
const fs = require('node:fs')
const path = require('node:path')
const { beforeEach, describe, it } = require('node:test')

const { makePlugin } = require('haraka-test-fixtures')
const { Resolver } = require('mtasts')

const { methods } = require('../lib/item')
const { SETTINGS } = require('../lib/settings')

// An outgoing item that writes down what is done to it.
class HMailItem {
  constructor(domain) {
    this.done = []
    this.mxlist = []
    this.todo = { domain, rcpt_to: [{}] }
  }
}
for (const [name, length] of Object.entries(methods)) {
  const method = function (...args) {
    this.done.push([name, ...args])
  }
  HMailItem.prototype[name] = Object.defineProperty(method, 'length', { value: length })
}

function haraka(name) {
  if (name === 'outbound/hmail') return HMailItem
  if (name === 'outbound/config') return { cfg: { enable_tls: true } }
  throw new Error(`the plugin asks for ${name}`)
}

const MX = [{ exchange: 'mx.example.com', priority: 10, from_dns: 'example.com' }]

let plugin
beforeEach(() => {
  plugin = makePlugin('../index', { register: false })
  plugin.haraka_require = haraka
  plugin.timeout = 30
})

function register(ini) {
  if (ini) {
    const get = plugin.config.get.bind(plugin.config)
    plugin.config.get = (name, ...rest) => (name === 'mta-sts.ini' ? ini : get(name, ...rest))
  }
  const hooks = []
  plugin.register_hook = (...args) => hooks.push(args)
  plugin.register()
  return hooks
}

// What the hook answers.
async function ask(hmail) {
  let answer
  await plugin.learn_policy((...args) => (answer = args), hmail)
  return answer
}

function error(code, message = 'for a reason') {
  return Object.assign(new Error(message), { code })
}

describe('note_tls_required', () => {
  it('keeps what the header of a mail says, for its sessions', () => {
    const noted = (said) => {
      const transaction = { notes: {}, header: { get: (name) => (name === 'TLS-Required' ? said : '') } }
      let went_on = false
      plugin.note_tls_required(() => (went_on = true), { transaction })
      assert.ok(went_on)
      return transaction.notes
    }
    assert.deepStrictEqual(noted(' No\n'), { 'mta-sts: TLS-Required': 'No' })
    assert.deepStrictEqual(noted(''), {})
  })
})

describe('register', () => {
  it('comes before every other plugin, and arms the item before any plugin is asked for its route', () => {
    const hooks = register().filter(([, , priority]) => priority !== undefined)
    assert.deepStrictEqual(hooks, [
      ['send_email', 'arm_item', -100],
      ['get_mx', 'learn_policy', -100],
    ])
  })

  it('refuses a Haraka whose private methods have changed, and says what to do', () => {
    plugin.haraka_require = (name) =>
      name === 'outbound/hmail'
        ? class extends HMailItem {
            get_force_tls() {}
          }
        : haraka(name)
    assert.throws(() => register(), /get_force_tls of outbound\/hmail.js changed.*Update haraka-plugin-mta-sts/)
  })

  it('refuses settings that are wrong', () => {
    assert.throws(() => register({ main: { lookup_timeout: '0' } }), /lookup_timeout: 0 is not 1 or more/)
    assert.throws(() => register({ main: { ca_file: '/nowhere' } }), /\/nowhere/)
    assert.throws(() => register({ main: { settings_file: '/nowhere' } }), /\/nowhere/)
    const slips = {
      enable: /enable is not a setting; there are enabled, /,
      enabled: /enabled: flase is neither true nor false/,
      check_routes: /check_routes: flase is neither true nor false/,
    }
    for (const [key, why] of Object.entries(slips)) assert.throws(() => register({ main: { [key]: 'flase' } }), why)
    assert.throws(() => register({ main: {}, mian: {} }), /\[mian\] is not a section/)
  })
})

describe('mta-sts.ini', () => {
  it('has every option, commented out, with its default', () => {
    const text = fs.readFileSync(path.join(__dirname, '../config/mta-sts.ini'), 'utf8')
    const options = [...text.matchAll(/^; (\w+)=(.*)$/gm)].map(([, name]) => name)
    assert.deepStrictEqual(options, Object.keys(SETTINGS))
    assert.strictEqual(text.split('\n').filter((line) => line && !/^(;|\[main\])/.test(line)).length, 0)
    register()
    assert.strictEqual(plugin.cfg.enabled, true)
    assert.strictEqual(plugin.cfg.check_routes, false)
  })

  it('keeps the lookup shorter than the hook', () => {
    register()
    assert.strictEqual(plugin.time_for_lookup(), 10_000)
    for (const [hook, time] of [
      [1, 500],
      [4, 2000],
      [10, 8000],
    ]) {
      plugin.timeout = hook
      assert.strictEqual(plugin.time_for_lookup(), time)
    }
    plugin.timeout = 0
    assert.strictEqual(plugin.time_for_lookup(), 10_000)
  })
})

describe('the hook', () => {
  it('arms the item before it waits for anything, and no other item', async () => {
    register()
    let finish
    plugin.resolver.lookup = () => new Promise((resolve) => (finish = resolve))
    const [hmail, other] = [new HMailItem('example.com'), new HMailItem('example.com')]
    const asked = ask(hmail)
    assert.ok(Object.hasOwn(hmail, 'found_mx'))
    assert.ok(!Object.hasOwn(other, 'found_mx'))
    assert.strictEqual(HMailItem.prototype.found_mx.length, 1)
    await hmail.found_mx(MX)
    assert.match(hmail.done.at(-1)[1], /did not finish in time/)
    finish(null)
    await asked
  })

  it('never denies, whatever happens', async () => {
    register()
    for (const lookup of [
      async () => Promise.reject(error('ERR_MTASTS_UNAVAILABLE')),
      () => {
        throw new Error('a defect')
      },
      async () => undefined,
    ]) {
      plugin.resolver.lookup = lookup
      assert.deepStrictEqual(await ask(new HMailItem('example.com')), [])
    }
  })

  it('lets mail wait that it cannot arm', async () => {
    register()
    const broken = Object.assign(new HMailItem('example.com'), { todo: null })
    assert.deepStrictEqual(await ask(broken), [])
    broken.found_mx(MX)
    assert.strictEqual(broken.done.at(-1)[0], 'temp_fail')
  })

  it('lets mail wait where nothing is known of the domain', async () => {
    register()
    for (const code of ['ERR_MTASTS_UNAVAILABLE', 'ERR_MTASTS_DEFECT', 'ERR_MTASTS_CLOSED', undefined]) {
      plugin.resolver.lookup = async () => Promise.reject(error(code, 'no process can be made'))
      const hmail = new HMailItem('example.com')
      await ask(hmail)
      await hmail.found_mx(MX)
      const [name, text] = hmail.done.at(-1)
      assert.strictEqual(name, 'temp_fail')
      assert.match(text, /example\.com could not be determined: no process can be made/)
    }
  })

  it('lets mail wait where the roots cannot be read', async () => {
    register()
    const roots = path.join(process.env.MTASTS_LAB_DIR, 'roots.pem')
    fs.writeFileSync(roots, '')
    for (const [caFile, why] of [
      ['/nowhere', /No such file/],
      [roots, /no CA certificate/],
    ]) {
      plugin.resolver = new Resolver({ caFile })
      const hmail = new HMailItem('good.test')
      await ask(hmail)
      await hmail.found_mx([{ exchange: 'mx.good.test', priority: 10, from_dns: 'good.test' }])
      const [name, text] = hmail.done.at(-1)
      assert.strictEqual(name, 'temp_fail')
      assert.match(text, /^the MTA-STS policy of good\.test could not be determined: /)
      assert.match(text, why)
      assert.ok(text.includes(caFile), text)
    }
    fs.rmSync(roots)
  })

  it('has no business with what can have no policy', async () => {
    register()
    for (const domain of ['[192.0.2.1]', '192.0.2.1', 'a..b']) {
      const hmail = new HMailItem(domain)
      await ask(hmail)
      await hmail.found_mx(MX)
      assert.deepStrictEqual(hmail.done, [['found_mx', MX]])
    }
  })

  it('leaves the routes of other plugins alone, also where nothing is known', async () => {
    register()
    plugin.resolver.lookup = async () => Promise.reject(error('ERR_MTASTS_UNAVAILABLE'))
    const hmail = new HMailItem('example.com')
    await ask(hmail)
    const route = [{ exchange: 'relay.example.net' }]
    await hmail.found_mx(route)
    assert.deepStrictEqual(hmail.done, [['found_mx', route]])
  })

  it('lets go of the items when it is switched off', async () => {
    register()
    plugin.resolver.lookup = async () => Promise.reject(error('ERR_MTASTS_UNAVAILABLE'))
    const hmail = new HMailItem('example.com')
    await ask(hmail)
    plugin.cfg.enabled = false
    await ask(hmail)
    assert.deepStrictEqual(Object.keys(hmail), ['done', 'mxlist', 'todo'])
    assert.deepStrictEqual(Object.getOwnPropertySymbols(hmail), [])
  })
})

describe('shutdown', () => {
  class Queued extends HMailItem {
    next_cb() {
      this.done.push(['next_cb'])
    }
  }

  it('leaves mail as it is whose lookup is under way, or begins later', async () => {
    register()
    const hmail = new Queued('silent.test')
    const asked = ask(hmail)
    plugin.shutdown()
    assert.deepStrictEqual(await asked, [])
    await hmail.found_mx(MX)
    assert.deepStrictEqual(hmail.done, [['next_cb']])
    const late = new Queued('example.com')
    await ask(late)
    await late.get_mx_respond(0)
    await late.bounce('No Such Domain: example.com')
    assert.deepStrictEqual(late.done, [['get_mx_respond', 0, undefined], ['next_cb']])
  })

  it('does not keep sessions under way from being judged', () => {
    register({ main: { ca_file: process.env.MTASTS_LAB_CA } })
    plugin.shutdown()
    assert.strictEqual(plugin.resolver.verifyCertificate('mx.example.com', []).result, 'validation-failure')
  })
})
