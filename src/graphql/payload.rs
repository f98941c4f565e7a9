//! The payloads of mutations: one type for each mutation, so that each can grow by itself.

/// Declares the payloads of mutations that return one object, in a module of their own: the field,
/// the type of the object, and the payload of each mutation.
macro_rules! mutation_payloads {
    (
        $module:ident;
        #[doc = $about:tt]
        $field:ident: $object:ty;
        $( $(#[doc = $doc:tt])* $name:ident, )+
    ) => {
        #[allow(dead_code, reason = "the derive makes methods that only some payloads need")]
        mod $module {
            use super::*;

            $(
                $(#[doc = $doc])*
                #[derive(async_graphql::SimpleObject)]
                pub struct $name {
                    #[doc = $about]
                    #[graphql(directive = $crate::graphql::permission::needs::apply(None))]
                    pub $field: Option<$object>,
                    /// Mistakes in the input; empty if it was done.
                    #[graphql(directive = $crate::graphql::permission::needs::apply(None))]
                    pub user_errors: Vec<$crate::graphql::relay::UserError>,
                }

                impl $name {
                    /// The payload that shows what the domain has done.
                    ///
                    /// # Errors
                    /// An error that no other input would avoid.
                    pub fn from_result<R: Into<$object>>(
                        done: $crate::error::Result<R>,
                        map: $crate::graphql::relay::FieldMap,
                    ) -> $crate::error::Result<Option<Self>> {
                        let (done, user_errors) =
                            $crate::graphql::relay::split_user_errors(done, map)?;
                        Ok(Some(Self { $field: done.map(Into::into), user_errors }))
                    }
                }
            )+
        }

        pub use $module::*;
    };
}

pub(in crate::graphql) use mutation_payloads;
