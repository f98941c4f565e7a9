//! The names of erased accounts, of which only keyed hashes are kept.

use entity::{erased_name, organization, user};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use crate::context::{Cx, Tx};
use crate::error::Result;

/// Keeps keyed hashes of the names of these accounts, which are being erased, so that no sign-in
/// makes an account for one of them again.
///
/// # Errors
/// Errors of the database and of the organization's data key.
pub(in crate::domain) async fn remember_erased_names(
    cx: &Cx,
    tx: &Tx<'_>,
    users: &[Uuid],
) -> Result<()> {
    #[allow(clippy::disallowed_methods, reason = "reads the tenant of this write")]
    let organization = organization::Entity::find_by_id(tx.organization()).one(&tx.db).await?;
    let Some(organization) = organization else { return Ok(()) };
    let query = tx.find::<user::Entity>().filter(user::Column::Id.is_in(users.iter().copied()));
    let query = query.filter(user::Column::PurgedAt.is_null());
    let names: Vec<String> =
        query.select_only().column(user::Column::UserNameKey).into_tuple().all(&tx.db).await?;
    let mut rows = Vec::with_capacity(names.len());
    for name in names {
        let (id, text) = (tx.organization(), hashed_text(&name));
        let key = cx.app.vault.keyed_hash(id, &organization.data_key, &text)?;
        rows.push(erased_name::ActiveModel { organization_id: Set(id), name_key: Set(key) });
    }
    if rows.is_empty() {
        return Ok(());
    }
    let known = OnConflict::new().do_nothing().to_owned();
    let insert = erased_name::Entity::insert_many(rows).on_conflict(known);
    insert.exec_without_returning(&tx.db).await?;
    Ok(())
}

/// What is hashed of the name of an account that is erased.
pub(super) fn hashed_text(folded: &str) -> String {
    format!("name {folded}")
}
