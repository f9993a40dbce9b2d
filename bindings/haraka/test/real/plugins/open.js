'use strict'

// Mail for everybody from everybody: whoever can reach this Haraka is the test.

exports.hook_connect = function (next, connection) {
  connection.relaying = true
  next()
}

exports.hook_rcpt = function (next) {
  next(OK)
}
