//! The ledger in a file of SQLite: write-ahead log, one writer at a time, a schema with a number.

mod claims;
mod schema;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mtasts::{Domain, Mode};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::exchanges::{Exchange, Stage};
use crate::ledger::{
    Account, Attempt, Certificate, Claim, Judged, Ledger, LedgerError, Life, Note, Rekey, Served, Stepped, Tls, Turn,
};
use crate::published::{Published, check_max_age, check_pattern};
use crate::rollout::Step;
use crate::settings::Tenant;
use crate::token::Token;

/// How long a writer waits for another process: the command beside the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// A ledger that is open.
pub struct Sqlite(Connection);

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error.to_string())
    }
}

impl Sqlite {
    /// Opens the ledger, and makes one if there is none. It is for its owner alone.
    ///
    /// # Errors
    /// [`LedgerError::Place`] if the directory is not there or every user may write in it; [`LedgerError::Newer`] and
    /// [`LedgerError::Damaged`] if the file is not one that this version understands.
    pub fn open(file: &Path) -> Result<Self, LedgerError> {
        let place = |why: String| LedgerError::Place(format!("the ledger {}: {why}", file.display()));
        let directory = file.parent().ok_or_else(|| place("is not in a directory".into()))?;
        let about = fs::metadata(directory).map_err(|error| place(error.to_string()))?;
        if about.mode() & 0o002 != 0 {
            return Err(place("every user may write in its directory; use chmod o-w".into()));
        }
        // SQLite gives its other files the mode of this one.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(file)
            .map_err(|error| place(error.to_string()))?;
        let mut connection = Connection::open(file)?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // A token that was printed is in somebody's DNS: it must survive a power cut.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is deleted is overwritten: it may be a private key.
        connection.pragma_update(None, "secure_delete", true)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        schema::migrate(&transaction)?;
        transaction.commit()?;
        Ok(Self(connection))
    }

    fn write(&mut self) -> Result<Transaction<'_>, LedgerError> {
        // The lock is taken first: what is read then is what is changed.
        Ok(self.0.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// The policies that a query finds. Domains with the same one share it.
    fn policies(&self, query: &str) -> Result<BTreeMap<Domain, Arc<Published>>, LedgerError> {
        let mut all = self.0.prepare(query)?;
        let mut rows = all.query(())?;
        let (mut policies, mut same) = (BTreeMap::new(), HashMap::new());
        while let Some(row) = rows.next()? {
            let (name, key): (String, (String, Option<String>)) = (row.get(0)?, (row.get(1)?, row.get(2)?));
            let published = match same.get(&key) {
                Some(published) => Arc::clone(published),
                None => Arc::new(published(&key.0, key.1.clone())?),
            };
            same.insert(key, Arc::clone(&published));
            policies.insert(domain(&name)?, published);
        }
        Ok(policies)
    }
}

/// Seconds as SQLite has them. They are positive until long after year 9999.
fn seconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// Seconds as SQLite had them.
fn time(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or_default()
}

fn damaged(what: &str, value: &str) -> LedgerError {
    LedgerError::Damaged(format!("{value:?} is not {what}"))
}

fn domain(text: &str) -> Result<Domain, LedgerError> {
    let domain = Domain::parse(text).ok().filter(|domain| domain.as_str() == text);
    domain.ok_or_else(|| damaged("a domain", text))
}

impl Ledger for Sqlite {
    fn claim(&mut self, domains: &[(&Domain, &Tenant)], now: u64) -> Result<(), LedgerError> {
        let transaction = self.write()?;
        claims::claim(&transaction, domains, now)?;
        Ok(transaction.commit()?)
    }

    fn reclaim(&mut self, domain: &Domain, tenant: &Tenant, now: u64) -> Result<(), LedgerError> {
        let transaction = self.write()?;
        claims::reclaim(&transaction, domain, tenant, now)?;
        Ok(transaction.commit()?)
    }

    fn turn(&mut self, domain: &Domain, turn: &Turn, now: u64) -> Result<bool, LedgerError> {
        let transaction = self.write()?;
        let is_known = claims::turn(&transaction, domain, turn, now)?;
        transaction.commit()?;
        Ok(is_known)
    }

    fn gone(&mut self, without: &[Token]) -> Result<Vec<Token>, LedgerError> {
        let transaction = self.write()?;
        for token in without {
            transaction.execute("DELETE FROM gone WHERE token = ?1", [token.as_str()])?;
        }
        let mut gone = Vec::new();
        {
            let mut all = transaction.prepare("SELECT token FROM gone")?;
            let mut rows = all.query(())?;
            while let Some(row) = rows.next()? {
                let token: String = row.get(0)?;
                gone.push(Token::parse(&token).ok_or_else(|| damaged("a token", &token))?);
            }
        }
        transaction.commit()?;
        Ok(gone)
    }

    fn claims(&self) -> Result<BTreeMap<Domain, Claim>, LedgerError> {
        claims::all(&self.0)
    }

    fn serve(&mut self, texts: &[(&Domain, &Published)], now: u64) -> Result<(), LedgerError> {
        let transaction = self.write()?;
        {
            let mut current = transaction.prepare("SELECT text, id FROM served WHERE domain = ?1 AND ended IS NULL")?;
            let mut end = transaction.prepare("UPDATE served SET ended = ?2 WHERE domain = ?1 AND ended IS NULL")?;
            let mut begin =
                transaction.prepare("INSERT INTO served (domain, text, begun, id) VALUES (?1, ?2, ?3, ?4)")?;
            for (domain, published) in texts {
                let before: Option<(String, Option<String>)> = current
                    .query_row([domain.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                let now_served = (published.text(), strange_id(published));
                if before.as_ref().map(|(text, id)| (text.as_str(), id.as_deref())) == Some(now_served) {
                    continue;
                }
                end.execute(params![domain.as_str(), seconds(now)])?;
                let (text, id) = now_served;
                begin.execute(params![domain.as_str(), text, seconds(now), id])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn served(&self) -> Result<BTreeMap<Domain, Arc<Published>>, LedgerError> {
        self.policies("SELECT domain, text, id FROM served WHERE ended IS NULL")
    }

    fn history(&self, domain: &Domain) -> Result<Vec<Served>, LedgerError> {
        let mut all = self
            .0
            .prepare("SELECT text, begun, ended, id FROM served WHERE domain = ?1 ORDER BY rowid")?;
        let mut rows = all.query([domain.as_str()])?;
        let mut history = Vec::new();
        while let Some(row) = rows.next()? {
            let (text, from, until): (String, i64, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            history.push(Served {
                published: Arc::new(published(&text, row.get(3)?)?),
                from: time(from),
                until: until.map(time),
            });
        }
        Ok(history)
    }

    fn step(&mut self, steps: &[(&Domain, Step)], forced: Option<&str>, now: u64) -> Result<(), LedgerError> {
        let transaction = self.write()?;
        {
            let mut into = transaction
                .prepare("INSERT INTO step (domain, mode, max_age, begun, forced) VALUES (?1, ?2, ?3, ?4, ?5)")?;
            let mut forget = transaction.prepare("DELETE FROM judged WHERE domain = ?1")?;
            for (domain, step) in steps {
                let (mode, max_age) = (step.mode.name(), step.max_age);
                into.execute(params![domain.as_str(), mode, max_age, seconds(now), forced])?;
                forget.execute([domain.as_str()])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn steps(&self) -> Result<BTreeMap<Domain, Stepped>, LedgerError> {
        let mut all = self
            .0
            .prepare("SELECT domain, mode, max_age, begun, forced FROM step ORDER BY rowid")?;
        let mut rows = all.query(())?;
        let mut steps = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (name, mode): (String, String) = (row.get(0)?, row.get(1)?);
            let mode = Mode::from_name(&mode).ok_or_else(|| damaged("a mode", &mode))?;
            let max_age: u32 = row.get(2)?;
            check_max_age(max_age).map_err(|_| damaged("a max_age", &max_age.to_string()))?;
            let stepped = Stepped {
                step: Step { mode, max_age },
                at: time(row.get(3)?),
                forced: row.get(4)?,
            };
            // The last one of a domain.
            steps.insert(domain(&name)?, stepped);
        }
        Ok(steps)
    }

    fn judge(&mut self, domain: &Domain, refusals: &[String], now: u64) -> Result<(), LedgerError> {
        let transaction = self.write()?;
        transaction.execute(
            "INSERT INTO judged (domain, time, refusals) VALUES (?1, ?2, ?3)
             ON CONFLICT (domain) DO UPDATE SET time = ?2, refusals = ?3",
            params![domain.as_str(), seconds(now), refusals.join("\n")],
        )?;
        Ok(transaction.commit()?)
    }

    fn judged(&self) -> Result<BTreeMap<Domain, Judged>, LedgerError> {
        let mut all = self.0.prepare("SELECT domain, time, refusals FROM judged")?;
        let mut rows = all.query(())?;
        let mut judged = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (name, refusals): (String, String) = (row.get(0)?, row.get(2)?);
            let said = Judged {
                at: time(row.get(1)?),
                refusals: refusals.lines().map(str::to_owned).collect(),
            };
            judged.insert(domain(&name)?, said);
        }
        Ok(judged)
    }

    fn import(&mut self, domain: &Domain, published: Option<&Published>, now: u64) -> Result<bool, LedgerError> {
        let transaction = self.write()?;
        let rows = transaction.execute("DELETE FROM imported WHERE domain = ?1", [domain.as_str()])?;
        if let Some(published) = published {
            transaction.execute(
                "INSERT INTO imported (domain, text, id, since) VALUES (?1, ?2, ?3, ?4)",
                params![domain.as_str(), published.text(), strange_id(published), seconds(now)],
            )?;
        }
        transaction.commit()?;
        Ok(rows > 0)
    }

    fn imported(&self) -> Result<BTreeMap<Domain, Arc<Published>>, LedgerError> {
        self.policies("SELECT domain, text, id FROM imported")
    }

    fn exchange(&mut self, domain: &Domain, moves: &[Exchange]) -> Result<(), LedgerError> {
        let transaction = self.write()?;
        transaction.execute("DELETE FROM exchange WHERE domain = ?1", [domain.as_str()])?;
        for Exchange { pattern, stage, since } in moves {
            transaction.execute(
                "INSERT INTO exchange (domain, pattern, stage, since) VALUES (?1, ?2, ?3, ?4)",
                params![domain.as_str(), pattern, stage.name(), since.map(seconds)],
            )?;
        }
        Ok(transaction.commit()?)
    }

    fn exchanges(&self) -> Result<BTreeMap<Domain, Vec<Exchange>>, LedgerError> {
        let mut all = self
            .0
            .prepare("SELECT domain, pattern, stage, since FROM exchange ORDER BY rowid")?;
        let mut rows = all.query(())?;
        let mut exchanges: BTreeMap<Domain, Vec<Exchange>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (name, pattern, stage): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            check_pattern(&pattern).map_err(|_| damaged("an MX pattern", &pattern))?;
            let stage = Stage::from_name(&stage).ok_or_else(|| damaged("the stage of a move", &stage))?;
            let since = row.get::<_, Option<i64>>(3)?.map(time);
            exchanges
                .entry(domain(&name)?)
                .or_default()
                .push(Exchange { pattern, stage, since });
        }
        Ok(exchanges)
    }

    fn account(&mut self, authority: &str, note: Option<Note<'_>>, now: u64) -> Result<Option<Account>, LedgerError> {
        let transaction = self.write()?;
        let put = "INSERT OR REPLACE INTO account (authority, key, since) VALUES (?1, ?2, ?3)";
        let mark = "UPDATE account SET plain = ?2 WHERE authority = ?1";
        match note {
            Some(Note::Key(key)) => transaction.execute(put, params![authority, key, seconds(now)])?,
            Some(Note::Plain(until)) => transaction.execute(mark, params![authority, seconds(until)])?,
            None => 0,
        };
        let look = "SELECT key, plain FROM account WHERE authority = ?1";
        let found = transaction.query_row(look, [authority], |row| Ok((row.get(0)?, row.get(1)?)));
        let found = found.optional()?.map(|(key, plain)| (key, time(plain)));
        transaction.commit()?;
        Ok(found.map(|(key, plain)| Account { key, plain }))
    }

    fn rekey(&mut self, change: &mut Rekey<'_>) -> Result<usize, LedgerError> {
        let transaction = self.write()?;
        let mut count = 0;
        // Where they are, in the words for them, and whether they are octets.
        for (table, row_name, words, is_blob) in [
            ("account", "authority", "account at", true),
            ("certificate", "domain", "certificate of", false),
            ("attempt", "domain", "order for", false),
        ] {
            let query = format!("SELECT {row_name}, CAST(key AS BLOB) FROM {table} WHERE key IS NOT NULL");
            let mut stored: Vec<(String, Vec<u8>)> = Vec::new();
            {
                let mut all = transaction.prepare(&query)?;
                let mut rows = all.query(())?;
                while let Some(row) = rows.next()? {
                    stored.push((row.get(0)?, row.get(1)?));
                }
            }
            let mut put = transaction.prepare(&format!("UPDATE {table} SET key = ?2 WHERE {row_name} = ?1"))?;
            for (row, key) in stored {
                let Some(new) = change(&format!("{words} {row}"), &key).map_err(LedgerError::Sealed)? else {
                    continue;
                };
                count += match (is_blob, String::from_utf8(new)) {
                    (true, Ok(text)) => put.execute(params![row, text.into_bytes()])?,
                    (true, Err(octets)) => put.execute(params![row, octets.into_bytes()])?,
                    (false, Ok(text)) => put.execute(params![row, text])?,
                    (false, Err(_)) => return Err(damaged("a private key", &row)),
                };
            }
        }
        transaction.commit()?;
        if count > 0 {
            // What was there before is not to stay in the log of what was written.
            self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        }
        Ok(count)
    }

    fn order(&mut self, since: u64, now: u64, most: u32) -> Result<bool, LedgerError> {
        let transaction = self.write()?;
        transaction.execute("DELETE FROM ordered WHERE time <= ?1", [seconds(since)])?;
        let count: u32 = transaction.query_row("SELECT count(*) FROM ordered", (), |row| row.get(0))?;
        if count < most {
            transaction.execute("INSERT INTO ordered (time) VALUES (?1)", [seconds(now)])?;
        }
        transaction.commit()?;
        Ok(count < most)
    }

    fn attempt(&mut self, domain: &Domain, attempt: &Attempt) -> Result<(), LedgerError> {
        let transaction = self.write()?;
        let (url, key) = attempt.order.as_ref().map(|(url, key)| (url, key)).unzip();
        transaction.execute(
            "INSERT INTO attempt (domain, failures, next, why, url, key, authority, since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (domain) DO UPDATE SET
                 failures = ?2, next = ?3, why = ?4, url = ?5, key = ?6, authority = ?7, since = ?8",
            params![
                domain.as_str(),
                attempt.failures,
                seconds(attempt.next),
                attempt.why,
                url,
                key,
                attempt.authority,
                attempt.since.map(seconds)
            ],
        )?;
        Ok(transaction.commit()?)
    }

    fn certify(&mut self, domain: &Domain, certificate: &Certificate) -> Result<(), LedgerError> {
        let transaction = self.write()?;
        let Certificate {
            chain,
            key,
            authority,
            life,
        } = certificate;
        transaction.execute(
            "INSERT INTO certificate (domain, chain, key, issued, ends, renew, ask, advised, authority)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (domain) DO UPDATE SET chain = ?2, key = ?3, issued = ?4, ends = ?5, renew = ?6, ask = ?7,
                 advised = ?8, authority = ?9",
            params![
                domain.as_str(),
                chain,
                key,
                seconds(life.issued),
                seconds(life.until),
                seconds(life.renew),
                seconds(life.ask),
                life.is_advised,
                authority
            ],
        )?;
        transaction.execute("DELETE FROM attempt WHERE domain = ?1", [domain.as_str()])?;
        Ok(transaction.commit()?)
    }

    fn plan(&mut self, domain: &Domain, life: &Life) -> Result<(), LedgerError> {
        let transaction = self.write()?;
        transaction.execute(
            "UPDATE certificate SET renew = ?2, ask = ?3, advised = ?4 WHERE domain = ?1",
            params![domain.as_str(), seconds(life.renew), seconds(life.ask), life.is_advised],
        )?;
        Ok(transaction.commit()?)
    }

    fn certificate(&self, domain: &Domain) -> Result<Option<Certificate>, LedgerError> {
        let mut look = self.0.prepare(
            "SELECT issued, ends, renew, ask, advised, chain, key, authority FROM certificate WHERE domain = ?1",
        )?;
        let found = look.query_row([domain.as_str()], |row| {
            Ok(Certificate {
                chain: row.get(5)?,
                key: row.get(6)?,
                authority: row.get(7)?,
                life: life(row)?,
            })
        });
        Ok(found.optional()?)
    }

    fn tls(&self) -> Result<BTreeMap<Domain, Tls>, LedgerError> {
        let mut known: BTreeMap<Domain, Tls> = BTreeMap::new();
        let mut all = self
            .0
            .prepare("SELECT issued, ends, renew, ask, advised, domain FROM certificate")?;
        let mut rows = all.query(())?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(5)?;
            known.entry(domain(&name)?).or_default().life = Some(life(row)?);
        }
        let mut all = self
            .0
            .prepare("SELECT domain, failures, next, why, url, key, authority, since FROM attempt")?;
        let mut rows = all.query(())?;
        while let Some(row) = rows.next()? {
            let (name, url, key): (String, Option<String>, Option<String>) = (row.get(0)?, row.get(4)?, row.get(5)?);
            known.entry(domain(&name)?).or_default().attempt = Some(Attempt {
                failures: row.get(1)?,
                next: time(row.get(2)?),
                why: row.get(3)?,
                order: url.zip(key),
                authority: row.get(6)?,
                since: row.get::<_, Option<i64>>(7)?.map(time),
            });
        }
        Ok(known)
    }

    fn version(&self) -> Result<u64, LedgerError> {
        let version: i64 = self.0.pragma_query_value(None, "data_version", |row| row.get(0))?;
        Ok(time(version))
    }
}

/// The first five columns of a certificate.
fn life(row: &rusqlite::Row<'_>) -> rusqlite::Result<Life> {
    Ok(Life {
        issued: time(row.get(0)?),
        until: time(row.get(1)?),
        renew: time(row.get(2)?),
        ask: time(row.get(3)?),
        is_advised: row.get(4)?,
    })
}

/// A policy, whose id is in the ledger if it is not the hash of the text.
fn published(text: &str, id: Option<String>) -> Result<Published, LedgerError> {
    let published = match id {
        Some(id) => Published::taken_over(text.as_bytes(), &id),
        None => Published::of_text(text),
    };
    published.map_err(|_| damaged("the text of a policy", text))
}

fn strange_id(published: &Published) -> Option<&str> {
    (!published.has_own_id()).then(|| published.id())
}

#[cfg(test)]
mod tests;
