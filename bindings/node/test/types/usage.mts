// What TypeScript makes of the package: compiled, never run.

import tls from 'node:tls'

import all, {
  Action,
  Answer,
  Attempt,
  Mode,
  MtaStsError,
  Resolver,
  ResultType,
  checkServerIdentity,
  fromNode,
  lookup,
  lookupCached,
  recheck,
  verifyCertificate,
  version,
  type CertificateCheck,
  type LookupOptions,
  type ReportEvent,
  type Seen,
  type Settings,
  type Source,
  type Verdict,
} from 'mtasts'

const settings: Settings = {
  config: null,
  cacheDir: '/var/lib/mtasts',
  nameservers: ['192.0.2.1'],
  timeout: '30s',
  firstContactDefer: 3_600_000,
  log: (line) => console.log(line.toUpperCase()),
}
const resolver = new Resolver(settings)
const cacheState: string = resolver.checkCache()
const options: LookupOptions = { timeout: 5000, signal: AbortSignal.timeout(100) }
const answer: Answer = await resolver.lookup('example.com', options)
const mode: 'enforce' | 'testing' | 'none' = answer.mode
const source: Source = answer.source
const expires: number | undefined = answer.expires?.getTime()
const patterns: readonly string[] = answer.mx
const result: ResultType | null = answer.result
const check: CertificateCheck = resolver.verifyCertificate(
  'mx.example.com',
  [Buffer.alloc(1), new Uint8Array(1)],
  new Date(),
)
const seen: Seen = { kind: 'certificate', ...check }
const decided: Verdict = new Attempt(answer, 'mx.example.com').saw(seen)
if (decided.action === Action.SKIP_HOST && answer.mode !== Mode.ENFORCE) throw new Error(decided.sentence)
const attempt = new Attempt(answer, 'mx.example.com')
if (attempt.saw({ kind: 'name' }).delivers) attempt.saw({ kind: 'starttls-not-offered' })
const event: ReportEvent | null = attempt.finish({ channel: 'tls', address: '192.0.2.1' })
const words: [string, ResultType] = [ResultType.CERTIFICATE_EXPIRED, ResultType.DANE_REQUIRED]
tls.connect({ host: 'mx.example.com', checkServerIdentity })
try {
  await recheck('example.com')
} catch (error) {
  if (error instanceof MtaStsError && error.code === 'ERR_MTASTS_NAME') console.log(error.message)
}
console.log(
  mode,
  source,
  expires,
  patterns,
  result,
  cacheState,
  words,
  version,
  fromNode('CERT_HAS_EXPIRED').reason,
  (await lookup('example.com')).isSamePolicy(lookupCached('example.com')),
  answer.verdictWithoutHost('nxdomain').defers,
  answer.verdictWithoutHost('left', [{ host: 'mx.example.com', reasonCode: 'starttls-refused' }, { host: 'mx' }])
    .sentence,
  event?.policyLines.length,
  verifyCertificate('mx.example.com', []).result,
  all.version,
  answer.toJSON(),
)
resolver.close()

// @ts-expect-error: not made by hand
new Answer()
// @ts-expect-error: read only
answer.mode = 'none'
// @ts-expect-error: read only
answer.mx.push('mx.example.com')
// @ts-expect-error: no such setting
new Resolver({ cacheDirectory: '/tmp' })
// @ts-expect-error: no such kind
new Attempt(answer, 'mx.example.com').saw({ kind: 'expired' })
// @ts-expect-error: no such result
new Attempt(answer, 'mx.example.com').saw({ kind: 'certificate', result: 'expired' })
// @ts-expect-error: no such reason
answer.verdictWithoutHost('none')
// @ts-expect-error: a promise
lookup('example.com').mode
// @ts-expect-error: not a chain
resolver.verifyCertificate('mx.example.com', Buffer.alloc(1))
