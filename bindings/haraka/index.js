'use strict'

// MTA-STS (RFC 8461) for mail that Haraka sends. What a policy means is decided by libmtasts; here is only where Haraka
// is made to ask and to obey.

const { setMaxListeners } = require('node:events')

const { Resolver } = require('mtasts')

const { arm, disarm, methods } = require('./lib/item')

// Before every other plugin: what follows must find the item armed.
const FIRST = -100

exports.register = function () {
  // Aborted when Haraka stops. Each lookup under way listens to it.
  this.stop = new AbortController()
  setMaxListeners(0, this.stop.signal)
  this.must_fit_haraka()
  this.load_mta_sts_ini()
  this.warn_about_outbound_ini()
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
  const cfg = this.config.get('mta-sts.ini', { booleans: ['+main.enabled', '-main.check_routes'] }, () => {
    try {
      this.load_mta_sts_ini()
      this.loginfo('read mta-sts.ini again')
    } catch (err) {
      this.logerror(
        `cannot read the settings again: ${err.message}. The previous settings stay in force; fix the file to apply the change.`,
      )
    }
  }).main

  const lookup_timeout = Number(cfg.lookup_timeout ?? 10)
  if (!(lookup_timeout >= 1)) throw new Error(`mta-sts.ini: lookup_timeout: ${cfg.lookup_timeout} is not 1 or more`)

  const settings = { log: (line) => this.lognotice(line) }
  if (cfg.settings_file) settings.config = cfg.settings_file
  if (cfg.ca_file) settings.caFile = cfg.ca_file
  const resolver = new Resolver(settings)
  // Roots that cannot be read are told now and not with each mail.
  if (resolver.caFile !== null) resolver.verifyCertificate('example.com', [])

  // The one before is not closed: items on their way still ask it.
  this.resolver = resolver
  this.cfg = { ...cfg, lookup_timeout }
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

exports.learn_policy = async function (next, hmail) {
  try {
    if (this.cfg.enabled) await arm(hmail, this).learn()
    else disarm(hmail)
  } catch (err) {
    // Nothing is expected here. Should it come to it, the mail waits.
    this.logcrit(`a defect of mta-sts: ${err.stack}`)
    hmail.found_mx = () => hmail.temp_fail(`a defect of mta-sts: ${err.message}`)
  }
  // Never DENYSOFT: a deny hook may override it, and then the mail would be delivered.
  next()
}

// A graceful stop or reload. Lookups are given up; the resolver still checks the certificates of sessions under way.
exports.shutdown = function () {
  this.stop?.abort()
}
