"""Whom an organization bills and who uses what it sells: registered by hand, or seen in events first."""

from collections.abc import Iterable
from dataclasses import replace

from om_server.account.clientele.store import ClienteleStore
from om_server.account.facts import customer_facts, user_facts
from om_server.account.listing import Listing, Page
from om_server.account.organization import Customer, User
from om_server.core.audit import AuditEntry
from om_server.core.clock import Clock
from om_server.core.errors import AlreadyExists, InvalidArgument, NotFound
from om_server.core.page import PageRequest
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database


class Clientele:
    """Customers and end users of any organization. Who was only seen can still be registered, once."""

    def __init__(self, database: Database, trail: AuditTrail, *, clock: Clock) -> None:
        self._database = database
        self._store = ClienteleStore(database)
        self._trail = trail
        self._clock = clock

    def create_customer(self, organization_id: str, customer_id: str, *, display_name: str) -> Customer:
        """Register a customer; ALREADY_EXISTS if that was done before."""
        if customer_id == organization_id:
            raise InvalidArgument("customer.customer_id", "the organization is nobody's customer")
        wish = Customer(customer_id, display_name, self._clock(), registered=True)

        def write() -> Customer:
            before = self._store.lock_customer(organization_id, customer_id=customer_id)
            if before is None:
                # Settlement may see the customer at this very moment, and its row then stays.
                self._store.add_customers(organization_id, [replace(wish, registered=False)])
                before = self._store.lock_customer(organization_id, customer_id=customer_id) or wish
            if before.registered:
                raise AlreadyExists("customer", customer_id)
            after = replace(wish, create_time=before.create_time)
            self._store.save_customer(organization_id, after)
            entry = AuditEntry("CreateCustomer", "customer", customer_id, after=customer_facts(after))
            self._trail.record(organization_id, entry)
            return after

        return self._database.write(write)

    def page_customers(self, organization_id: str, page: PageRequest) -> Page[Customer]:
        """Return customers, oldest first, and how many there are."""
        listing = Listing(page, list="customers", organization_id=organization_id)

        def read() -> Page[Customer]:
            found = self._store.customers(
                organization_id, after=listing.after, skip=listing.skip, limit=listing.limit
            )
            total = self._store.count_customers(organization_id)
            return listing.page(found, lambda one: (one.create_time, one.customer_id), total_size=total)

        return self._database.read(read)

    def create_user(self, organization_id: str, user_id: str, *, email: str, metadata_json: str) -> User:
        """Register an end user; ALREADY_EXISTS if that was done before."""
        now = self._clock()
        wish = User(user_id, email, metadata_json, now, now, registered=True)

        def write() -> User:
            before = self._store.lock_user(organization_id, user_id=user_id)
            if before is None:
                # As above.
                self._store.add_users(organization_id, [replace(wish, registered=False)])
                before = self._store.lock_user(organization_id, user_id=user_id) or wish
            if before.registered:
                raise AlreadyExists("user", user_id)
            after = replace(wish, create_time=before.create_time)
            self._store.save_user(organization_id, after)
            entry = AuditEntry("CreateUser", "user", user_id, after=user_facts(after))
            self._trail.record(organization_id, entry)
            return after

        return self._database.write(write)

    def user(self, organization_id: str, user_id: str) -> User:
        found = self._database.read(lambda: self._store.find_user(organization_id, user_id=user_id))
        if found is None:
            raise NotFound("user", user_id)
        return found

    def page_users(self, organization_id: str, page: PageRequest, *, search: str = "") -> Page[User]:
        """Return end users whose id or address contains the search, oldest first, and how many match."""
        listing = Listing(page, list="users", organization_id=organization_id, search=search)

        def read() -> Page[User]:
            found = self._store.users(
                organization_id, search, after=listing.after, skip=listing.skip, limit=listing.limit
            )
            total = self._store.count_users(organization_id, search)
            return listing.page(found, lambda one: (one.create_time, one.user_id), total_size=total)

        return self._database.read(read)

    def note_sightings(
        self, organization_id: str, *, customers: Iterable[str], users: Iterable[str], now: int
    ) -> None:
        """Record whom events named for the first time. The organization itself is nobody's customer.

        Rows are written in the order of their ids, so that two settlers never wait for each other.
        """
        new_customers = [
            Customer(customer_id, "", now) for customer_id in sorted(set(customers) - {"", organization_id})
        ]
        new_users = [User(user_id, "", "{}", now, now) for user_id in sorted(set(users) - {""})]

        def write() -> None:
            self._store.add_customers(organization_id, new_customers)
            self._store.add_users(organization_id, new_users)

        self._database.write(write)
