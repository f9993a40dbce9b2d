//! The tables of the ledger, and how a file of an older version gets them.

use rusqlite::Transaction;

use crate::ledger::LedgerError;

/// Marks the file as ours: "MTST".
pub(super) const APPLICATION: u32 = 0x4d54_5354;
/// The number of the schema that this version writes.
pub(super) const SCHEMA: u32 = 10;
/// From each number to the next. A step that was released is never changed.
pub(super) const STEPS: [&str; SCHEMA as usize] = [
    "
    CREATE TABLE domain (
        name TEXT PRIMARY KEY,
        tenant TEXT NOT NULL,
        token TEXT NOT NULL UNIQUE,
        since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE served (
        domain TEXT NOT NULL REFERENCES domain (name) ON DELETE CASCADE,
        text TEXT NOT NULL,
        begun INTEGER NOT NULL,
        ended INTEGER
    ) STRICT;
    CREATE INDEX served_domain ON served (domain, begun);
    CREATE UNIQUE INDEX served_now ON served (domain) WHERE ended IS NULL;
",
    "
    CREATE TABLE step (
        domain TEXT NOT NULL REFERENCES domain (name) ON DELETE CASCADE,
        mode TEXT NOT NULL,
        max_age INTEGER NOT NULL,
        begun INTEGER NOT NULL,
        forced TEXT
    ) STRICT;
    CREATE INDEX step_domain ON step (domain);
    CREATE TABLE judged (
        domain TEXT PRIMARY KEY REFERENCES domain (name) ON DELETE CASCADE,
        time INTEGER NOT NULL,
        refusals TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE domain ADD COLUMN leaving INTEGER;
    ALTER TABLE served ADD COLUMN id TEXT;
    CREATE TABLE imported (
        domain TEXT PRIMARY KEY REFERENCES domain (name) ON DELETE CASCADE,
        text TEXT NOT NULL,
        id TEXT,
        since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE account (
        authority TEXT PRIMARY KEY,
        key BLOB NOT NULL,
        since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE certificate (
        domain TEXT PRIMARY KEY REFERENCES domain (name) ON DELETE CASCADE,
        chain TEXT NOT NULL,
        key TEXT NOT NULL,
        issued INTEGER NOT NULL,
        ends INTEGER NOT NULL,
        renew INTEGER NOT NULL,
        ask INTEGER NOT NULL,
        advised INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE attempt (
        domain TEXT PRIMARY KEY REFERENCES domain (name) ON DELETE CASCADE,
        failures INTEGER NOT NULL,
        next INTEGER NOT NULL,
        why TEXT NOT NULL,
        url TEXT,
        key TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ordered (
        time INTEGER NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE exchange (
        domain TEXT NOT NULL REFERENCES domain (name) ON DELETE CASCADE,
        pattern TEXT NOT NULL,
        stage TEXT NOT NULL,
        since INTEGER,
        PRIMARY KEY (domain, pattern)
    ) STRICT;
",
    "
    ALTER TABLE domain ADD COLUMN proven INTEGER;
    ALTER TABLE domain ADD COLUMN lost INTEGER;
",
    "
    CREATE TABLE gone (
        token TEXT PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER gone_released AFTER DELETE ON domain BEGIN
        INSERT OR IGNORE INTO gone (token) VALUES (old.token);
    END;
    CREATE TRIGGER gone_moved AFTER UPDATE OF token ON domain WHEN old.token <> new.token BEGIN
        INSERT OR IGNORE INTO gone (token) VALUES (old.token);
    END;
",
    "
    ALTER TABLE certificate ADD COLUMN authority TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempt ADD COLUMN authority TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempt ADD COLUMN since INTEGER;
",
    "
    ALTER TABLE account ADD COLUMN plain INTEGER NOT NULL DEFAULT 0;
",
    "
    CREATE TABLE rival (
        domain TEXT NOT NULL REFERENCES domain (name) ON DELETE CASCADE,
        tenant TEXT NOT NULL,
        token TEXT NOT NULL UNIQUE,
        since INTEGER NOT NULL,
        PRIMARY KEY (domain, tenant)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER gone_rival AFTER DELETE ON rival BEGIN
        INSERT OR IGNORE INTO gone (token) VALUES (old.token);
    END;
",
];

/// Brings a file to this schema.
pub(super) fn migrate(transaction: &Transaction<'_>) -> Result<(), LedgerError> {
    let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    let (application, schema) = (number("application_id")?, number("user_version")?);
    let tables: u32 = transaction.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if application != APPLICATION && (application, schema, tables) != (0, 0, 0) {
        return Err(LedgerError::Damaged("it is a file of another program".into()));
    }
    if schema > SCHEMA {
        return Err(LedgerError::Newer(schema));
    }
    if schema == SCHEMA {
        return Ok(());
    }
    for step in &STEPS[schema as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    Ok(())
}
