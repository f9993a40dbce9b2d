/** What a domain asks of senders (RFC 8461 3.2, 5). */
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
  /** Only the name of the host so far: before connecting. */
  | { kind: 'name' }
  /** The host's EHLO reply does not offer STARTTLS. */
  | { kind: 'starttls-not-offered' }
  /** The host refused the STARTTLS command, with whatever code. */
  | { kind: 'starttls-refused' }
  /** The TLS handshake failed for a reason other than the certificate. */
  | { kind: 'handshake-failed'; reason?: string }
  /** The host's certificate was checked for the name in the MX record; `result` is null for a good one. */
  | { kind: 'certificate'; result?: ResultType | null; reason?: string }

/** Why there is no MX host to deliver to. */
export type NoHost =
  /** There are MX hosts, and each was tried or skipped. */
  | 'left'
  /** The MX lookup says that the domain does not exist (NXDOMAIN; `ENOTFOUND` in Node). */
  | 'nxdomain'
  /** The MX lookup says that the domain has no MX record (NODATA; `ENODATA` in Node). */
  | 'nodata'
  /** The one MX record is `.`: the domain takes no mail (RFC 7505). */
  | 'null-mx'
  /** The MX lookup gives no host that the policy lists: it denies all hosts, or names others. */
  | 'not-listed'

/** What to do with an MX host, and why. */
export interface Verdict {
  action: Action
  /** What a report calls the failure; null if there is none to report. */
  result: ResultType | null
  /**
   * The failure-reason-code for a report; empty if there is none. Up to its first colon it is a token for log watchers
   * (docs/log.md of libmtasts).
   */
  reasonCode: string
  /** One line for the log: what is wrong, and what to do about it. */
  sentence: string
  /** Whether mail may go to this host. */
  delivers: boolean
  /** Whether the mail waits, and no other host of the domain is to be tried now. */
  defers: boolean
}

/** The other side of a session, for the report. */
export interface Peer {
  /** How far the session came: there was none (the default), it went on in clear, or under TLS. */
  channel?: 'none' | 'clear' | 'tls'
  /** The IP address of the host. */
  address?: string | null
  /** The IP address that the connection came from. */
  localAddress?: string | null
}

/** What a TLS report counts of one session (RFC 8460 4). */
export interface ReportEvent {
  /** The kind of policy that the session is counted under (`policy-type`). */
  policyType: 'tlsa' | 'sts' | 'no-policy-found'
  /** The recipient's domain, or the TLSA base domain (`policy-domain`). */
  domain: string
  /** The lines of the policy (`policy-string`). The domain's owner wrote them: escape them. */
  policyLines: string[]
  /** The MX patterns of the policy (`mx-host`). */
  patterns: string[]
  /** The MX host (`receiving-mx-hostname`). */
  host: string
  /** Its address (`receiving-ip`). */
  address: string | null
  /** The address that the connection came from (`sending-mta-ip`). */
  localAddress: string | null
  /** What failed (`result-type`); null for a success. */
  result: ResultType | null
  /** The `failure-reason-code`, as in a {@link Verdict}; empty for a success. */
  reasonCode: string
}

/** The result of a certificate check. */
export interface CertificateCheck {
  /** Null for a good certificate. */
  result: ResultType | null
  /** What is wrong, in plain words; empty for a good certificate. */
  reason: string
}

/** The answer of a lookup. It never changes. */
export class Answer {
  private constructor()
  /** The policy domain, in A-labels and lower case. Null if the mail domain is not a domain name: it cannot have a policy. */
  readonly domain: string | null
  /** What the domain asks for. 'none' also if it has no policy. */
  readonly mode: Mode
  readonly source: Source
  /** The id of the policy. */
  readonly id: string | null
  /** When the policy was fetched. */
  readonly fetched: Date | null
  /** The last second at which the policy is in force. */
  readonly expires: Date | null
  /** Until when mail must wait (setting `firstContactDefer`). */
  readonly deferUntil: Date | null
  /** The MX patterns of the policy. */
  readonly mx: readonly string[]
  /** The policy as the policy host sent it, for the policy-string of a report. The domain's owner wrote it: escape it. */
  readonly policyText: string | null
  /** The result type of what prevented a current policy, if it is to be reported. */
  readonly result: ResultType | null
  /** What prevented a current policy, or why there is none, in plain words. */
  readonly detail: string
  /** What is wrong with the cache on this host. */
  readonly warning: string
  /** The whole answer in one sentence for the log. */
  readonly explanation: string
  /** Whether a pattern of the policy matches this MX host (the name in the MX record). False for what is not a host name. */
  allowsMx(host: string): boolean
  /** Whether a host that fails the policy gets no mail, so that a session needs verified TLS. */
  readonly enforces: boolean
  /** Whether the policy asks anything of MX hosts (mode enforce or testing). If not, no host is judged. */
  readonly applies: boolean
  /**
   * Whether another answer, such as that of a recheck, has the same policy. If not, mail that was refused deserves another
   * attempt before it is bounced (RFC 8461 5).
   */
  isSamePolicy(other: Answer): boolean
  /**
   * What to do with a mail for which there is no MX host. If the verdict defers, the mail waits: every host was skipped, or
   * DNS denies the MX hosts that an enforced policy lists, and an answer of DNS can be forged. Otherwise do what you do
   * without MTA-STS, such as to bounce mail to a domain that does not exist.
   *
   * `hosts` are the MX hosts that DNS gave, each with the `reasonCode` of the verdict that refused it. The sentence names
   * the first of them, so that the reader of a bounce sees what is wrong.
   */
  verdictWithoutHost(why: NoHost, hosts?: readonly { host: string; reasonCode?: string }[]): Verdict
  toJSON(): Record<string, unknown>
}

/**
 * One MX host in one attempt to deliver. Make one for each session, show it each sight when there is one, obey each verdict,
 * and finish it. It remembers: after a refusal every further verdict is that refusal, and under mode testing the first
 * failure is the one that is reported.
 */
export class Attempt {
  /**
   * `host` is the name in the MX record, also if it is not a host name; without an MX record it is the domain. With `hosts`
   * DANE decides where the host has TLSA records ({@link Resolver.hosts}).
   */
  constructor(answer: Answer, host: string, hosts?: Hosts)
  /** The host in A-labels and lower case, or the start of what the MX record names instead. */
  readonly host: string
  /** What to do after this sight and all before it: first `{ kind: 'name' }`, before you connect. */
  saw(seen: Seen): Verdict
  /** What decides about the certificate of the host. */
  readonly judge: Judge
  /** Whether the host gets no mail without TLS: the policy is enforced, or the host has TLSA records. */
  readonly enforces: boolean
  /** Whether anything is asked of the host: by a policy that applies, or by DANE. If not, it is not judged. */
  readonly applies: boolean
  /** The TLSA base domain, for `servername` of tls.connect; null if TLSA records do not decide. */
  readonly sni: string | null
  /** The usable TLSA records as the octets of their RDATA, for the policy-string of a report; empty if they do not decide. */
  readonly records: Buffer[]
  /**
   * Checks the chain that the host sent (DER, its own certificate first) as DANE or the policy asks for, and says what to do
   * after this sight and all before it. Let tls.connect reject nothing then (`rejectUnauthorized: false`), and send nothing
   * before the verdict: DANE may take a self-signed certificate, and refuse one of a public CA.
   */
  sawChain(resolver: Resolver, chain: readonly Uint8Array[]): Verdict
  /**
   * Ends the attempt. Gives what a report counts of it, a failure or a success; the next call the same for another policy
   * that was looked at (TLSA records come first), and then null.
   */
  finish(peer?: Peer): ReportEvent | null
  /**
   * Says which mail the session carries, before `finish`: its envelope sender, and the value of its header field
   * `TLS-Required`. A session with a TLS report (from the setting `tlsrptSender`), or with a mail that needs no TLS, then gives
   * no event, and is not reported.
   */
  carries(resolver: Resolver, sender: string, tlsRequired?: string): void
  /**
   * Hands what `finish` has given over to a program that makes TLS reports, as the settings `tlsrptJournal` and `tlsrptSocket`
   * say; by default to none. Call it once, after `finish` has given null. It waits for nothing. False if an event is lost, which was counted and means nothing for the mail.
   */
  report(resolver: Resolver): boolean
}

/**
 * The settings of a resolver (mtasts.toml(5)). A setting that is not given has the value of this host. A time is a number of
 * milliseconds or a text such as '5m'.
 */
export interface Settings {
  /** A settings file to read instead of the host's. Null: no file. */
  config?: string | null
  /** The directory of the cache. Null: keep policies in memory only. */
  cacheDir?: string | null
  /** Whom a process of root becomes to use the cache and the network. The default is the owner of `cacheDir`. */
  user?: string
  /** How many domains the cache may hold. */
  cacheMax?: number
  /** How many domains the cache may hold below one registered domain. */
  cacheMaxPerParent?: number
  /** A PEM file of trust anchors to use instead of the system's. */
  caFile?: string
  /** Name servers to ask instead of those of /etc/resolv.conf. */
  nameservers?: readonly string[]
  /** The time limit for one lookup, 1s to 10m. */
  timeout?: string | number
  /** Addresses or networks in which a policy host may be although they are not public. */
  allowAddresses?: readonly string[]
  /** NAT64 prefixes of this network: an address below one is judged by the IPv4 address that it carries (RFC 6052). */
  nat64Prefixes?: readonly string[]
  /** How long to defer mail if DNS fails for a domain never seen before. */
  firstContactDefer?: string | number
  /** How long this process may wait in total for silent hosts, 5s to 1h; each further one gets little more than a second. */
  silenceBudget?: string | number
  /** The shortest and the longest time for which a TXT record is not looked up again. */
  txtLifeMin?: string | number
  txtLifeMax?: string | number
  /** A file of domains for which nothing is enforced. Null: none. */
  exceptions?: string | null
  /** Whether TLSA records decide about MX hosts (DANE): 'off', 'auto' or 'trust', the last two also with ' strict-both'. */
  dane?: string
  /** The one name server whose word on DNSSEC is believed. */
  daneResolver?: string
  /** A name whose signatures are broken on purpose, by which 'auto' tests that name server. */
  daneBogusName?: string
  /** Whether results for TLS reports (RFC 8460) are kept in the cache directory: 'on' or 'off'. */
  tlsrptJournal?: string
  /** The datagram socket of a collector for TLS reports, such as tlsrpt-collectd. Null: none. */
  tlsrptSocket?: string | null
  /** The mail address from which TLS reports are sent. Null: none. */
  tlsrptSender?: string | null
  /** The Valkey or Redis server by which several hosts share what they fetch, and a replica to read from. Null: none. */
  fleet?: string | readonly string[] | null
  /** How the names of all keys on that server begin. */
  fleetPrefix?: string
  /** The file of the secrets that these hosts have in common. Null: none. */
  fleetKeyFile?: string | null
  /** Whether that server may be asked without TLS beyond this host: 'on' or 'off'. */
  fleetInsecure?: string
  /** Is called with what the administrator should know, one line at a time. */
  log?: (line: string) => void
}

/** What DANE says of the MX hosts of a domain, for the attempts of one delivery. */
export interface Hosts {
  readonly __hosts: unique symbol
}

/** What decides about the certificate of an MX host (RFC 8461 2, RFC 7672 2.2). */
export type Judge = 'sts' | 'dane' | 'both' | 'tls-without-name' | 'skip-host'

export interface LookupOptions {
  /**
   * The time limit in milliseconds, at most the setting `timeout`, which is the default. When it is over, the answer is what
   * the cache has (a process of root does not read the cache itself and gets ERR_MTASTS_UNAVAILABLE).
   */
  timeout?: number
  /** Rejects the promise with the signal's reason. What the lookup finds afterwards still goes to the cache. */
  signal?: AbortSignal
}

/** Looks up policies, with settings and a cache of its own. A program needs one. */
export class Resolver {
  /** @throws {MtaStsError} ERR_MTASTS_SETTINGS, with the file, the key and the reason. */
  constructor(settings?: Settings)
  /**
   * The PEM file of trust anchors in use; null: those of the system. For programs whose TLS (`tls.connect`, `ca`) is to trust
   * the same for MX hosts.
   */
  readonly caFile: string | null
  /**
   * The answer for the domain of a recipient: from the cache, else from DNS and HTTPS (RFC 8461 5.1). That there is no
   * policy, that none could be determined, or that there can be none (an address literal, a text that is not a domain name)
   * is an answer and not an error.
   *
   * If the policy is in the cache, the lookup reads a small file on the calling thread. Lookups take 10 ms of a turn of the
   * event loop at most, and more of them wait for the next turns.
   */
  lookup(domain: string, options?: LookupOptions): Promise<Answer>
  /** What the cache has, at once: a small file is read on the calling thread. */
  lookupCached(domain: string): Answer
  /** Asks DNS and the policy host for a newer policy, whatever the cache has: before mail is bounced (RFC 8461 5). */
  recheck(domain: string, options?: LookupOptions): Promise<Answer>
  /**
   * What DANE says of these MX hosts, the names of the MX records, the first to be tried first; without MX records it is the
   * domain. None: those of the MX records. Asks DNS if the setting `dane` is on, and else nothing. A host that cannot be
   * looked up is skipped by its attempt.
   */
  hosts(domain: string, hosts?: readonly string[], options?: { timeout?: number }): Promise<Hosts>
  /**
   * Checks the certificate chain of an MX host (RFC 8461 4.2), each certificate in DER, the host's own first. The first call
   * reads the trust anchors.
   */
  verifyCertificate(host: string, chain: readonly Uint8Array[], at?: Date): CertificateCheck
  /**
   * Whether the cache can be used, for a program that starts: where it is, whose, and of how many domains it holds something,
   * in one sentence for the log. Call it as the user who sends the mail. It works on the calling thread.
   * @throws {MtaStsError} ERR_MTASTS_UNAVAILABLE: what is wrong, and what becomes of mail until it is repaired. The resolver
   * sees by itself when it is.
   */
  checkCache(): string
  /** Ends the resolver: lookups under way reject with ERR_MTASTS_CANCELLED. Answers stay valid. */
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

/** The result type for Node's code of a failed TLS connection: `error.code`, or `socket.authorizationError`. */
export function fromNode(code: string): CertificateCheck

/** For tls.connect: only DNS names of the subjectAltName count (RFC 8461 4.2). Node's own function accepts the common name. */
export function checkServerIdentity(hostname: string, cert: { raw: Uint8Array }): Error | undefined

/**
 * `code` says what went wrong. ERR_MTASTS_UNAVAILABLE and ERR_MTASTS_DEFECT say nothing about the domain: defer its mail.
 */
export class MtaStsError extends Error {
  private constructor()
  readonly code:
    /** Not a valid host name. */
    | 'ERR_MTASTS_NAME'
    /** An IP address in place of a host name. */
    | 'ERR_MTASTS_ADDRESS'
    /** A setting or a settings file is wrong. */
    | 'ERR_MTASTS_SETTINGS'
    /**
     * No answer is possible: this host refused what the call needs (a process, a thread, a descriptor, root certificates, a
     * usable cache directory). Defer the mail.
     */
    | 'ERR_MTASTS_UNAVAILABLE'
    /** The resolver was closed while the lookup was under way. */
    | 'ERR_MTASTS_CANCELLED'
    /** The resolver was closed before. */
    | 'ERR_MTASTS_CLOSED'
    /** An argument is out of range. */
    | 'ERR_MTASTS_ARGUMENT'
    /** A defect of the library. Defer the mail, and report the defect. */
    | 'ERR_MTASTS_DEFECT'
}

export const Mode: Readonly<{ ENFORCE: 'enforce'; TESTING: 'testing'; NONE: 'none' }>

export const Source: Readonly<{
  FRESH: 'fresh'
  CACHED: 'cached'
  CACHED_AFTER_FAILURE: 'cached-after-failure'
  NO_POLICY: 'no-policy'
  COULD_NOT_LEARN: 'could-not-learn'
}>

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
