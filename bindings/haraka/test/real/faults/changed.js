'use strict'

// A Haraka of the future, in which a private method takes no arguments.

const Module = require('node:module')

const load = Module._load
Module._load = function (...args) {
  const loaded = load.apply(this, args)
  if (loaded?.name === 'HMailItem') loaded.prototype.found_mx = function () {}
  return loaded
}
