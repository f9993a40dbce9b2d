//! Whose the domains are, in the ledger: a row for the claim of each domain, and one for each rival of it.

use std::collections::BTreeMap;

use mtasts::Domain;
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, Transaction, params};

use super::{damaged, domain, seconds, time};
use crate::ledger::{Claim, LedgerError, Turn};
use crate::settings::Tenant;
use crate::token::Token;

fn new_token() -> Result<Token, LedgerError> {
    Token::random().ok_or_else(|| LedgerError::Engine("the system gives no random octets".into()))
}

// What was proven of another token says nothing of this one.
const PUT: &str = "INSERT INTO domain (name, tenant, token, since) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (name) DO UPDATE SET tenant = ?2, token = ?3, since = ?4, leaving = NULL,
        proven = iif(token = ?3, proven, NULL), lost = iif(token = ?3, lost, NULL)";

const FIND: &str = "SELECT tenant, token, since, leaving, proven, lost FROM domain WHERE name = ?1";

/// The claim of a domain without its rivals, by [`FIND`].
fn find(look: &mut Statement<'_>, domain: &Domain) -> Result<Option<Claim>, LedgerError> {
    look.query_row([domain.as_str()], |row| Ok(read(row)))
        .optional()?
        .transpose()
}

/// Puts a claim that is not leaving in the place of whatever there is, by [`PUT`].
fn put(
    into: &mut Statement<'_>,
    domain: &Domain,
    tenant: &Tenant,
    token: &Token,
    since: u64,
) -> Result<(), LedgerError> {
    into.execute(params![domain.as_str(), tenant.name(), token.as_str(), seconds(since)])?;
    Ok(())
}

/// A claim as it was validated when it was made: the first six columns.
fn read(row: &Row<'_>) -> Result<Claim, LedgerError> {
    let (tenant, token): (String, String) = (row.get(0)?, row.get(1)?);
    let when = |at| row.get::<_, Option<i64>>(at).map(|seconds| seconds.map(time));
    Ok(Claim {
        tenant: Tenant::new(&tenant).ok_or_else(|| damaged("a tenant", &tenant))?,
        token: Token::parse(&token).ok_or_else(|| damaged("a token", &token))?,
        since: time(row.get(2)?),
        leaving: when(3)?,
        proven: when(4)?,
        lost: when(5)?,
        rivals: Vec::new(),
    })
}

pub(super) fn claim(
    transaction: &Transaction<'_>,
    domains: &[(&Domain, &Tenant)],
    now: u64,
) -> Result<(), LedgerError> {
    let (mut look, mut into) = (transaction.prepare(FIND)?, transaction.prepare(PUT)?);
    for (domain, tenant) in domains {
        let (token, since) = match find(&mut look, domain)? {
            Some(before) if before.tenant == **tenant && before.leaving.is_none() => continue,
            Some(before) if before.tenant == **tenant => (before.token, before.since),
            Some(before) if **tenant == Tenant::operator() => (before.token, before.since),
            Some(before) if before.is_operators() => {
                return Err(LedgerError::Taken((*domain).clone(), before.tenant));
            }
            Some(_) => {
                rival(transaction, domain, tenant, &new_token()?, now)?;
                continue;
            }
            None => (new_token()?, now),
        };
        put(&mut into, domain, tenant, &token, since)?;
    }
    Ok(())
}

/// Notes a rival, if it is not one already.
fn rival(
    transaction: &Transaction<'_>,
    domain: &Domain,
    tenant: &Tenant,
    token: &Token,
    since: u64,
) -> Result<(), LedgerError> {
    transaction.execute(
        "INSERT OR IGNORE INTO rival (domain, tenant, token, since) VALUES (?1, ?2, ?3, ?4)",
        params![domain.as_str(), tenant.name(), token.as_str(), seconds(since)],
    )?;
    Ok(())
}

/// Gives a domain to another tenant. What was under way for the one before is over.
fn give(
    transaction: &Transaction<'_>,
    domain: &Domain,
    tenant: &Tenant,
    token: &Token,
    now: u64,
) -> Result<(), LedgerError> {
    put(&mut transaction.prepare(PUT)?, domain, tenant, token, now)?;
    for table in ["judged", "imported", "exchange"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE domain = ?1"), [domain.as_str()])?;
    }
    transaction.execute(
        "DELETE FROM rival WHERE domain = ?1 AND tenant = ?2",
        params![domain.as_str(), tenant.name()],
    )?;
    Ok(())
}

pub(super) fn reclaim(
    transaction: &Transaction<'_>,
    domain: &Domain,
    tenant: &Tenant,
    now: u64,
) -> Result<(), LedgerError> {
    match find(&mut transaction.prepare(FIND)?, domain)? {
        Some(before) if before.tenant == *tenant => Ok(()),
        _ => give(transaction, domain, tenant, &new_token()?, now),
    }
}

pub(super) fn turn(transaction: &Transaction<'_>, domain: &Domain, turn: &Turn, now: u64) -> Result<bool, LedgerError> {
    if let Turn::Proven(token) = turn {
        win(transaction, domain, token, now)?;
    }
    let (change, token) = match turn {
        Turn::Leaving => ("UPDATE domain SET leaving = coalesce(leaving, ?2)", None),
        Turn::Proven(token) => (
            "UPDATE domain SET proven = coalesce(proven, ?2), lost = NULL",
            Some(token),
        ),
        Turn::Lost(token) => ("UPDATE domain SET lost = coalesce(lost, ?2)", Some(token)),
        Turn::Void(token) => ("UPDATE domain SET proven = NULL, lost = NULL", Some(token)),
        Turn::Released => ("DELETE FROM domain", None),
    };
    let rows = transaction.execute(
        &format!("{change} WHERE name = ?1 AND token = coalesce(?3, token)"),
        params![domain.as_str(), seconds(now), token.map(Token::as_str)],
    )?;
    match turn {
        _ if rows == 0 => {}
        // What stood in its way is over.
        Turn::Proven(_) => {
            transaction.execute("DELETE FROM judged WHERE domain = ?1", [domain.as_str()])?;
        }
        Turn::Void(_) => {
            transaction.execute(
                "UPDATE served SET ended = ?2 WHERE domain = ?1 AND ended IS NULL",
                params![domain.as_str(), seconds(now)],
            )?;
        }
        Turn::Leaving | Turn::Lost(_) | Turn::Released => {}
    }
    Ok(rows > 0)
}

/// The domain is that of the rival with this token, if there is one. The tenant before is its rival from then on, with the token that
/// it had: its customer may come back.
fn win(transaction: &Transaction<'_>, domain: &Domain, token: &Token, now: u64) -> Result<(), LedgerError> {
    let winner: Option<String> = transaction
        .query_row(
            "SELECT tenant FROM rival WHERE domain = ?1 AND token = ?2",
            params![domain.as_str(), token.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    let (Some(winner), Some(before)) = (winner, find(&mut transaction.prepare(FIND)?, domain)?) else {
        return Ok(());
    };
    if before.is_operators() {
        return Ok(());
    }
    let winner = Tenant::new(&winner).ok_or_else(|| damaged("a tenant", &winner))?;
    give(transaction, domain, &winner, token, now)?;
    rival(transaction, domain, &before.tenant, &before.token, before.since)?;
    // Both are somebody's on.
    for token in [token, &before.token] {
        transaction.execute("DELETE FROM gone WHERE token = ?1", [token.as_str()])?;
    }
    Ok(())
}

pub(super) fn all(connection: &Connection) -> Result<BTreeMap<Domain, Claim>, LedgerError> {
    let mut all = connection.prepare("SELECT tenant, token, since, leaving, proven, lost, name FROM domain")?;
    let mut rows = all.query(())?;
    let mut claims = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(6)?;
        claims.insert(domain(&name)?, read(row)?);
    }
    let mut all =
        connection.prepare("SELECT tenant, token, since, NULL, NULL, NULL, domain FROM rival ORDER BY tenant")?;
    let mut rows = all.query(())?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(6)?;
        if let Some(claim) = claims.get_mut(&domain(&name)?) {
            claim.rivals.push(read(row)?);
        }
    }
    Ok(claims)
}
