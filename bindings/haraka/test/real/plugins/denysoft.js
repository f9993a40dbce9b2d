'use strict'

// What the MTA-STS plugin must never do.

exports.hook_get_mx = function (next) {
  next(DENYSOFT, 'this host is not allowed')
}
