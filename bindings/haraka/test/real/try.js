const { Host, fresh_library } = require('./host')
;(async () => {
  fresh_library()
  const host = await new Host().start()
  try {
    const f = await host.send(process.argv.slice(2))
    for (const [d, x] of Object.entries(f)) console.log(d, x.fate, x.err, JSON.stringify(x.results))
  } finally { console.log(host.log()); await host.stop() }
})()
