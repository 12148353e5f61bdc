//! Identifiers. Each is its own type, so that a vgroup can never be passed where a dnode is meant.

/// Declares a newtype over an unsigned integer that prints with a short prefix and does no arithmetic.
macro_rules! id {
    ($(#[$meta:meta])* $name:ident($int:ty) as $prefix:literal) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
        )]
        pub struct $name(pub $int);

        impl $name {
            /// The identifier after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    };
}

id! {
    /// One server process. Given out by the mnode group, never reused.
    DnodeId(u32) as "d"
}
id! {
    /// One Raft group: a shard of one database, or the mnode group, which is [`VgroupId::MNODE`].
    /// Given out by the mnode group, never reused.
    VgroupId(u32) as "vg"
}
id! {
    /// One database. Its name may come back after a DROP, its id never does.
    DatabaseId(u32) as "db"
}
id! {
    /// One relation of a database: a super table, a normal table or a plain table. Unique in the cluster, never reused.
    Suid(u32) as "st"
}
id! {
    /// One series inside one vnode: dense, given out when the creating entry is applied, never reused.
    Sid(u32) as "s"
}
id! {
    /// One column or tag of a relation. Never reused inside the relation. [`ColumnId::KEY`] is the row's key.
    ColumnId(u16) as "c"
}

impl VgroupId {
    /// The metadata group.
    pub const MNODE: Self = Self(0);
}

impl ColumnId {
    /// The first column of a time series, or the hidden row id of a plain table.
    pub const KEY: Self = Self(0);
}
