//! What `mtasts doctor` can find: one code for each kind, the same in every output and in the manual, and a sentence that
//! says what is so and what to do.

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, and is probably not what was meant.
    Warning,
    /// It could not be determined, by this user or at this moment.
    Unknown,
    /// To be repaired: mail waits or is not protected because of it.
    Error,
}

impl Level {
    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Error => "error",
        }
    }
}

/// The closed list of codes: the variant, the word, how much it matters, and what the manual says of it.
macro_rules! codes {
    ($($variant:ident = $word:literal, $level:ident, $meaning:literal;)+) => {
        /// The kind of a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($variant,)+
        }

        impl Code {
            /// Every kind, in the order of the manual.
            #[allow(dead_code, reason = "the test of the manual needs it")]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// A short stable name.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// How much it matters.
            pub(crate) const fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level),+ }
            }

            /// What the manual says of it.
            #[allow(dead_code, reason = "the test of the manual needs it")]
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

codes! {
    // The settings.
    Settings = "settings", Ok, "the settings file that is in force, or that there is none";
    SettingsInvalid = "settings-invalid", Error, "a setting, or the whole file, cannot be used, and mail waits; each error has its line and key";
    SettingsUnreadable = "settings-unreadable", Unknown, "this user may not read the settings file";
    SettingsWritable = "settings-writable", Error, "every user may change the settings";
    SettingsOwner = "settings-owner", Warning, "another user than root may change the settings, and so whom mail servers trust";
    Exceptions = "exceptions", Ok, "for how many domains enforcement is off by exceptions of the operator";
    ExceptionsInvalid = "exceptions-invalid", Error, "the file of exceptions cannot be used, and mail waits";
    // The cache directory and its users.
    Cache = "cache", Ok, "the cache directory, its owner, group and mode";
    CacheMemory = "cache-memory", Warning, "policies are kept in memory alone: each process begins without any";
    CacheMissing = "cache-missing", Error, "the cache directory does not exist, or is not a directory";
    CacheUnreadable = "cache-unreadable", Unknown, "this user may not look at the cache directory, or at files in it";
    CacheRoot = "cache-root", Error, "the cache directory leaves root no user to become, so that mail waits where root looks policies up";
    CacheWritable = "cache-writable", Error, "every user may write to the cache directory, which is therefore not used";
    CacheReadOnly = "cache-read-only", Error, "the disk of the cache is mounted read-only";
    CacheFull = "cache-full", Error, "the disk of the cache is full";
    User = "user", Ok, "a user of the cache who can read and write it";
    UserByRoot = "user-by-root", Ok, "Exim's user cannot write to the cache, and asks as root";
    UserReads = "user-reads", Warning, "a user of the cache who can only read it, and keeps in memory what is fetched";
    UserCannotRead = "user-cannot-read", Error, "a user of the cache who cannot read it";
    UserCannotWrite = "user-cannot-write", Error, "the owner of the cache, or the user of the refresh, cannot write to it";
    UserUnknown = "user-unknown", Error, "a user that is named in a configuration does not exist";
    // What is in it.
    Policies = "policies", Ok, "how many policies there are, and how many are in force, expired or near their end";
    PoliciesFailed = "policies-failed", Warning, "policies that could not be renewed the last time";
    PoliciesOverdue = "policies-overdue", Warning, "policies whose renewal is overdue: no refresh has run";
    CacheFile = "cache-file", Warning, "a file in the cache directory that is ignored, and why";
    // What a lookup needs.
    Roots = "roots", Ok, "the file of the trust anchors, and how many they are";
    RootsSkipped = "roots-skipped", Warning, "a certificate of the system's trust anchors cannot be used";
    RootsUnusable = "roots-unusable", Error, "the trust anchors cannot be read, and mail waits";
    CaFile = "ca-file", Ok, "what the setting ca_file applies to";
    Resolver = "resolver", Ok, "a name server answers, how fast, and whether it validates DNSSEC";
    ResolverSlow = "resolver-slow", Warning, "a name server needs more than a second";
    ResolverSilent = "resolver-silent", Warning, "a name server does not answer, and another one does";
    ResolverFails = "resolver-fails", Warning, "a name server answers with an error";
    ResolversFail = "resolvers-fail", Error, "no name server answers";
    ResolverUnknown = "resolver-unknown", Unknown, "the name servers could not be asked";
    DaneResolver = "dane-resolver", Ok, "the name server of dane_resolver, and that its word on DNSSEC counts; or that DANE is off";
    DaneResolverUnfit = "dane-resolver-unfit", Warning, "the name server of dane_resolver does not validate, or is not there: MTA-STS alone decides";
    DaneResolverUnknown = "dane-resolver-unknown", Error, "the test of the name server of dane_resolver found nothing out: mail waits";
    // The fleet.
    Fleet = "fleet", Ok, "the server of the setting fleet answers, and how fast";
    FleetSilent = "fleet-silent", Warning, "that server cannot be used: each host fetches for itself";
    FleetPlain = "fleet-plain", Warning, "that server is asked without TLS beyond this host";
    FleetEvicts = "fleet-evicts", Warning, "that server drops policies when its memory is full";
    // Time.
    Clock = "clock", Ok, "the clock agrees with the files of the cache and is synchronised";
    ClockWrong = "clock-wrong", Error, "files are newer than the clock: it is wrong now, or was wrong then";
    ClockFree = "clock-free", Warning, "the kernel was not told of a synchronised clock (NTP)";
    // The refresh.
    Refresh = "refresh", Ok, "what runs mtasts cache refresh, and how its last run ended";
    RefreshMissing = "refresh-missing", Warning, "neither a systemd timer nor cron runs mtasts cache refresh";
    RefreshInactive = "refresh-inactive", Warning, "the systemd timer exists and is not active";
    RefreshFailed = "refresh-failed", Warning, "the last run of the refresh failed";
    RefreshUnknown = "refresh-unknown", Unknown, "no timer was found, and this user may not read every crontab, or systemd did not answer";
    // The library.
    Library = "library", Ok, "the library that the dynamic loader finds";
    LibraryMissing = "library-missing", Warning, "the dynamic loader finds no library, which Exim and C programs need";
    LibraryVersion = "library-version", Error, "the library has another version than the command";
    LibraryUnknown = "library-unknown", Unknown, "the version of the library could not be determined";
    // The mail servers.
    Exim = "exim", Ok, "the configuration of Exim that is in force asks the library";
    EximAbsent = "exim-absent", Warning, "the configuration of Exim that is in force does not ask the library";
    EximParts = "exim-parts", Warning, "a part of ours in Exim's configuration is missing, edited or of another version";
    EximStale = "exim-stale", Error, "Exim's configuration was made of other parts than are there now";
    EximDlfunc = "exim-dlfunc", Error, "this Exim cannot call a library";
    EximInvalid = "exim-invalid", Error, "Exim's configuration is not valid, or cannot be read";
    EximDane = "exim-dane", Ok, "whether Exim hears from its resolver what the name servers have validated, which its DANE needs";
    EximUnknown = "exim-unknown", Unknown, "this user may not read Exim's configuration, or Exim does not answer";
    Haraka = "haraka", Ok, "Haraka's configuration has the plugin";
    HarakaPlugin = "haraka-plugin", Warning, "Haraka's config/plugins does not list mta-sts";
    HarakaSettings = "haraka-settings", Error, "Haraka's mta-sts.ini has an unknown key or section, which the plugin refuses";
    HarakaUnreadable = "haraka-unreadable", Unknown, "this user may not read Haraka's configuration";
    Server = "server", Ok, "the server (mtasts serve) answers at one of its addresses";
    ServerVersion = "server-version", Warning, "the server has another version than the command";
    ServerSilent = "server-silent", Error, "the server runs and does not answer";
    ServerMissing = "server-missing", Error, "the unit of the server is enabled, and no server runs";
    ServerUnknown = "server-unknown", Unknown, "the server has the sockets of systemd, which are not asked";
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Its kind.
    pub(crate) code: Code,
    /// What is so, and what to do.
    pub(crate) sentence: String,
}

impl Finding {
    pub(crate) fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self {
            code,
            sentence: sentence.into(),
        }
    }
}
