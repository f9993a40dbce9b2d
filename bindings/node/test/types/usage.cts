// The same package by require.

import mtasts = require('mtasts')

const resolver: mtasts.Resolver = new mtasts.Resolver()
const mode: Promise<mtasts.Mode> = resolver.lookup('example.com').then((answer) => answer.mode)
const enforce: mtasts.Mode = mtasts.Mode.ENFORCE
void [mode, enforce]
