'use strict'

// A route that is given before any other plugin is asked.

exports.register = function () {
  this.register_hook('get_mx', 'route', -100)
}

exports.route = function (next) {
  next(OK, 'mx.hub.test')
}
