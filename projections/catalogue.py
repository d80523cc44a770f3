"""All views in one place: a new one is its own file and one line here."""

from projections.carts import Carts
from projections.orders import Orders
from projections.payments import Payments
from projections.seats import Seats
from projections.services import Services
from projections.users import Users
from projections.view import AnyView

VIEWS: dict[str, AnyView] = {view.name: view for view in (Seats(), Services(), Users(), Orders(), Carts(), Payments())}
