'use strict'

// Writes down what Haraka's hooks tell of outgoing mail, and what the MTA-STS plugin holds ready for reports.

const fs = require('node:fs')

function write(hook, hmail, rest) {
  const item = hmail[Symbol.for('haraka-plugin-mta-sts')]
  const at = Date.now()
  const delay = (at - hmail.todo.queue_time) / 1000
  const line = { hook, at, delay, domain: hmail.todo.domain, ...rest, results: item?.results, id: item?.answer?.id }
  fs.appendFileSync(process.env.JOURNAL, `${JSON.stringify(line)}\n`)
}

exports.register = function () {
  for (const hook of ['delivered', 'deferred', 'bounce']) this.register_hook(hook, hook)
}

exports.delivered = function (next, hmail, params) {
  write('delivered', hmail, { host: params[0], ip: params[1], secured: params[7] })
  next()
}

exports.deferred = function (next, hmail, { err }) {
  write('deferred', hmail, { err: String(err) })
  next()
}

exports.bounce = function (next, hmail, err) {
  write('bounce', hmail, { err: err.message })
  next()
}
