'use strict'

// MTA-STS (RFC 8461) for mail that Haraka sends. What a policy means is decided by libmtasts; here is only where Haraka
// is made to ask and to obey.

const { setMaxListeners } = require('node:events')

const { Resolver, version } = require('mtasts')

const { TLS_REQUIRED, arm, disarm, methods } = require('./lib/item')
const settings_of = require('./lib/settings')

// Before every other plugin: what follows must find the item armed.
const FIRST = -100
// For how long a line about this host is not said again, and how many are remembered.
const SILENT = 3_600_000
const MOST = 1000

exports.register = function () {
  // Aborted when Haraka stops. Each lookup under way listens to it.
  this.stop = new AbortController()
  setMaxListeners(0, this.stop.signal)
  // The lines about this host, and when each was said.
  this.said = new Map()
  this.must_fit_haraka()
  this.load_mta_sts_ini()
  this.warn_about_outbound_ini()
  this.register_hook('init_master', 'report_of_master')
  this.register_hook('init_child', 'report')
  this.register_hook('pre_send_trans_email', 'note_tls_required')
  this.register_hook('send_email', 'arm_item', FIRST)
  this.register_hook('get_mx', 'learn_policy', FIRST)
}

// The overridden methods are private: a Haraka that has changed them would send mail without protection.
exports.must_fit_haraka = function () {
  const { prototype } = this.haraka_require('outbound/hmail')
  const changed = Object.entries(methods).filter(([name, length]) => prototype[name]?.length !== length)
  if (changed.length === 0) return
  const names = changed.map(([name]) => name).join(', ')
  throw new Error(
    `mta-sts does not fit this version of Haraka: ${names} of outbound/hmail.js changed. No mail would be protected, ` +
      'so Haraka does not start. Update haraka-plugin-mta-sts, or remove mta-sts from config/plugins.',
  )
}

exports.load_mta_sts_ini = function () {
  const ini = this.config.get('mta-sts.ini', () => {
    try {
      this.load_mta_sts_ini()
      this.loginfo('read mta-sts.ini again')
    } catch (err) {
      this.logerror(
        `cannot read the settings again: ${err.message}. The previous settings stay in force; fix the file to apply the change.`,
      )
    }
  })
  const cfg = settings_of.read(ini)

  const settings = { log: (line) => this.say_once('lognotice', line) }
  if (cfg.settings_file) settings.config = cfg.settings_file
  if (cfg.ca_file) settings.caFile = cfg.ca_file
  const resolver = new Resolver(settings)
  // Roots that cannot be read are told now and not with each mail.
  if (resolver.caFile !== null) resolver.verifyCertificate('example.com', [])

  // The one before is not closed: items on their way still ask it.
  this.resolver = resolver
  this.cfg = cfg
}

// The header of a mail is at hand here, and not when it is sent.
exports.note_tls_required = function (next, { transaction }) {
  const said = transaction?.header?.get('TLS-Required')?.trim()
  if (said) transaction.notes[TLS_REQUIRED] = said
  next()
}

// What is wrong on this host is so for each mail.
exports.say_once = function (level, line) {
  const now = Date.now()
  if (now < (this.said.get(line) ?? 0) + SILENT) return
  if (this.said.size >= MOST) this.said.clear()
  this.said.set(line, now)
  this[level](line)
}

// The master of a cluster sends no mail.
exports.report_of_master = function (next, server) {
  if (server?.cluster) return next()
  this.report(next)
}

// One line, in each process that sends mail, when it has become the user of smtp.ini.
exports.report = function (next) {
  const roots = this.resolver.caFile ?? 'those of the system for policy hosts, those of Node.js for MX hosts'
  try {
    this.lognotice(`libmtasts ${version}: ${this.resolver.checkCache()}; trust anchors: ${roots}`)
  } catch (err) {
    this.logerror(`libmtasts ${version}: ${err.message}`)
  }
  next()
}

exports.warn_about_outbound_ini = function () {
  if (this.haraka_require('outbound/config').cfg.enable_tls) return
  this.logwarn(
    'outbound.ini has enable_tls=false: mail to all domains with an MTA-STS policy in mode enforce is deferred',
  )
}

// Milliseconds for a lookup. It has to be over before Haraka gives up the hook, and may take a second longer than this.
exports.time_for_lookup = function () {
  const { lookup_timeout } = this.cfg
  const hook = this.timeout > 0 ? Math.max(this.timeout - 2, this.timeout / 2) : Infinity
  return Math.min(lookup_timeout, hook) * 1000
}

exports.lookup_options = function () {
  return { timeout: this.time_for_lookup(), signal: this.stop.signal }
}

// Another plugin may answer to get_mx before this one is asked. Its route, too, comes to an item that is armed.
exports.arm_item = async function (next, hmail) {
  await this.safely(hmail, () => (this.cfg.enabled ? arm(hmail, this) : disarm(hmail)))
  next()
}

exports.learn_policy = async function (next, hmail) {
  await this.safely(hmail, () => (this.cfg.enabled ? arm(hmail, this).learn() : disarm(hmail)))
  // Never DENYSOFT: a deny hook may override it, and then the mail would be delivered.
  next()
}

// Nothing is expected to fail here. Should it come to it, the mail waits.
exports.safely = async function (hmail, body) {
  try {
    await body()
  } catch (err) {
    this.logcrit(`a defect of mta-sts: ${err.stack}`)
    hmail.found_mx = () => hmail.temp_fail(`a defect of mta-sts: ${err.message}`)
  }
}

// A graceful stop or reload. Lookups are given up; the resolver still checks the certificates of sessions under way.
exports.shutdown = function () {
  this.stop?.abort()
}
