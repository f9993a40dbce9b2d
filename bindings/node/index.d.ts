/** What a domain asks of the hosts that send it mail (RFC 8461 3.2). */
export type Mode = 'enforce' | 'testing' | 'none'

/** Where an answer came from. */
export type Source = 'fresh' | 'cached' | 'cached-after-failure' | 'no-policy' | 'could-not-learn'

/** What a TLS report calls a failure (RFC 8460 4.3). */
export type ResultType =
  | 'starttls-not-supported'
  | 'certificate-host-mismatch'
  | 'certificate-not-trusted'
  | 'certificate-expired'
  | 'validation-failure'
  | 'sts-policy-fetch-error'
  | 'sts-policy-invalid'
  | 'sts-webpki-invalid'
  | 'tlsa-invalid'
  | 'dnssec-invalid'
  | 'dane-required'

/** What to do with an MX host. */
export type Action = 'deliver' | 'deliver-and-report' | 'skip-host' | 'defer'

/** What was seen at an MX host. Spread a {@link CertificateCheck} into that of a certificate. */
export type Seen =
  /** Nothing yet but its name: before connecting. */
  | { kind: 'name' }
  /** STARTTLS stands not in its answer to EHLO. */
  | { kind: 'no-starttls' }
  /** It refused the STARTTLS command. */
  | { kind: 'starttls-refused' }
  /** The handshake failed, but not over the certificate. */
  | { kind: 'handshake-failed'; reason?: string }
  /** The certificate was checked for the name of this host; `result` is null for a good one. */
  | { kind: 'certificate'; result?: ResultType | null; reason?: string }
  /** Every host was tried or skipped. */
  | { kind: 'no-host-left' }

/** What to do with an MX host, and why. */
export interface Verdict {
  action: Action
  /** What a report calls the failure; null where there is none to report. */
  result: ResultType | null
  /** The failure-reason-code of a report; empty where there is none. */
  reasonCode: string
  /** One line for the log: what is wrong and what to do about it. */
  sentence: string
}

/** What a certificate check gave. */
export interface CertificateCheck {
  /** Null for a good certificate. */
  result: ResultType | null
  /** What is wrong, in plain words; empty for a good one. */
  reason: string
}

/** The answer of a lookup. It never changes. */
export class Answer {
  private constructor()
  /** The policy domain, in A-labels and lower case. */
  readonly domain: string
  /** What the domain asks for; 'none' also where it has no policy. */
  readonly mode: Mode
  readonly source: Source
  /** The id of the policy. */
  readonly id: string | null
  /** When the policy was fetched. */
  readonly fetched: Date | null
  /** The last second at which the policy counts. */
  readonly expires: Date | null
  /** Until when mail waits, by the setting `first_contact_defer`. */
  readonly deferUntil: Date | null
  /** The MX patterns of the policy. */
  readonly mx: readonly string[]
  /** The policy as the policy host sent it, for the policy-string of a report. A stranger's text. */
  readonly policyText: string | null
  /** What stood in the way of a current policy, where it is to be reported. */
  readonly result: ResultType | null
  /** The same in plain words, or why there is no policy. */
  readonly detail: string
  /** What is wrong with the cache on this host. */
  readonly warning: string
  /** The whole answer in one sentence for a log. */
  readonly explanation: string
  /** Whether a pattern of the policy allows this MX host: the name in the MX record. False for what is no host name. */
  matchMx(host: string): boolean
  /** What to do with this MX host: ask before connecting, and again after the TLS handshake. */
  verdict(host: string, seen: Seen): Verdict
  toJSON(): Record<string, unknown>
}

/** The settings of a resolver; those not given are the host's (mtasts.toml(5)). Times are milliseconds or such as '5m'. */
export interface Settings {
  /** A settings file in place of the host's; null: none at all. */
  config?: string | null
  /** Where the policies are kept; null: in memory alone. */
  cacheDir?: string | null
  /** Whom a process of root becomes to use the cache and the network; by default the owner of `cacheDir`. */
  user?: string
  /** Roots to trust in place of the system's: a PEM file. */
  caFile?: string
  /** Name servers in place of those of /etc/resolv.conf. */
  nameservers?: readonly string[]
  /** The longest time for one lookup, 1s to 10m. */
  timeout?: string | number
  /** Addresses or networks in which policy hosts may be although they are not public. */
  allowAddresses?: readonly string[]
  /** Prefixes of this network's NAT64: an address below one is judged by the IPv4 address that it carries. */
  nat64Prefixes?: readonly string[]
  /** How long mail waits where DNS fails for a domain of which nothing is known. */
  firstContactDefer?: string | number
  txtLifeMin?: string | number
  txtLifeMax?: string | number
  /** A file of domains for which nothing is enforced; null: none. */
  exceptions?: string | null
  /** Takes what the administrator should know, one line at a time. */
  log?: (line: string) => void
}

export interface LookupOptions {
  /**
   * Milliseconds from now; then the answer is what the cache knows (root, which does not read it itself, gets
   * ERR_MTASTS_SYSTEM). At most the setting `timeout`, which is the default.
   */
  deadline?: number
  /** Rejects the promise with its reason. What is still learnt goes to the cache. */
  signal?: AbortSignal
}

/** Looks policies up, with settings and a cache of its own. A program needs one. */
export class Resolver {
  /** @throws {MtaStsError} ERR_MTASTS_SETTINGS, with the file, the key and the reason. */
  constructor(settings?: Settings)
  /**
   * The roots that count, a PEM file; null: those of the system. For programs whose TLS (`tls.connect`, `ca`) is to trust
   * the same for MX hosts.
   */
  readonly caFile: string | null
  /**
   * The answer for the domain of a recipient: from the cache, else from DNS and HTTPS (RFC 8461 5.1). That there is no
   * policy, or that none could be learnt, is an answer and not an error.
   */
  lookup(domain: string, options?: LookupOptions): Promise<Answer>
  /** What the cache knows, at once. */
  lookupCached(domain: string): Answer
  /** Asks whether there is a newer policy, whatever the cache says: before mail is bounced (RFC 8461 5). */
  recheck(domain: string, options?: LookupOptions): Promise<Answer>
  /**
   * Checks the certificate chain of an MX host (RFC 8461 4.2), each in DER, the host's own first. The first call reads
   * the roots.
   */
  verifyCertificate(host: string, chain: readonly Uint8Array[], at?: Date): CertificateCheck
  /** Gives everything up: lookups under way reject with ERR_MTASTS_CANCELLED. Answers stay valid. */
  close(): void
}

/** {@link Resolver.lookup} with the settings of this host. */
export function lookup(domain: string, options?: LookupOptions): Promise<Answer>
/** {@link Resolver.lookupCached} with the settings of this host. */
export function lookupCached(domain: string): Answer
/** {@link Resolver.recheck} with the settings of this host. */
export function recheck(domain: string, options?: LookupOptions): Promise<Answer>
/** {@link Resolver.verifyCertificate} with the settings of this host. */
export function verifyCertificate(host: string, chain: readonly Uint8Array[], at?: Date): CertificateCheck
/** {@link Answer.matchMx} as a function. */
export function matchMx(answer: Answer, host: string): boolean
/** {@link Answer.verdict} as a function. */
export function verdict(answer: Answer, host: string, seen: Seen): Verdict

/** What the code of a failed TLS connection is called: `error.code`, or `socket.authorizationError`. */
export function failureFromNode(code: string): CertificateCheck

/** For tls.connect: only DNS names of the subjectAltName count (RFC 8461 4.2), where Node also takes the common name. */
export function checkServerIdentity(hostname: string, cert: { raw: Uint8Array }): Error | undefined

/** `code` says what went wrong; under ERR_MTASTS_SYSTEM and ERR_MTASTS_PANIC nothing is known: let the mail wait. */
export class MtaStsError extends Error {
  private constructor()
  readonly code:
    /** No domain or host name; as the domain of a mail it can have no policy. */
    | 'ERR_MTASTS_NAME'
    /** An IP address, for which there is no policy (RFC 8461 3.4). */
    | 'ERR_MTASTS_ADDRESS'
    /** A setting is wrong. */
    | 'ERR_MTASTS_SETTINGS'
    /** The system refused what the lookup needs: no process, no thread, no roots, no usable cache directory. */
    | 'ERR_MTASTS_SYSTEM'
    /** The resolver was closed while the lookup was under way. */
    | 'ERR_MTASTS_CANCELLED'
    /** The resolver was closed before. */
    | 'ERR_MTASTS_CLOSED'
    /** An argument is out of its range. */
    | 'ERR_MTASTS_ARGUMENT'
    /** A defect of the library. */
    | 'ERR_MTASTS_PANIC'
}

export const Mode: Readonly<{ ENFORCE: 'enforce'; TESTING: 'testing'; NONE: 'none' }>

export const Action: Readonly<{
  DELIVER: 'deliver'
  DELIVER_AND_REPORT: 'deliver-and-report'
  SKIP_HOST: 'skip-host'
  DEFER: 'defer'
}>

export const ResultType: Readonly<{
  STARTTLS_NOT_SUPPORTED: 'starttls-not-supported'
  CERTIFICATE_HOST_MISMATCH: 'certificate-host-mismatch'
  CERTIFICATE_NOT_TRUSTED: 'certificate-not-trusted'
  CERTIFICATE_EXPIRED: 'certificate-expired'
  VALIDATION_FAILURE: 'validation-failure'
  STS_POLICY_FETCH_ERROR: 'sts-policy-fetch-error'
  STS_POLICY_INVALID: 'sts-policy-invalid'
  STS_WEBPKI_INVALID: 'sts-webpki-invalid'
  TLSA_INVALID: 'tlsa-invalid'
  DNSSEC_INVALID: 'dnssec-invalid'
  DANE_REQUIRED: 'dane-required'
}>

/** The version of the library. */
export const version: string
