'use strict'

// A lookup that never ends.

const path = require('node:path')

const { Resolver } = require(path.join(process.env.HARAKA_APP, 'node_modules/mtasts'))
Resolver.prototype.lookup = () => new Promise(() => {})
