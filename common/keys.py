"""The names of all keys in etcd. This is the only file that spells `/v1/`.

A requested thing of kind K is `/v1/K/<id>`; what is true of it is `/v1/status/K/<reporter>/<id>` for what a host
reports and `/v1/status/K/<id>` for what one elected daemon reports. Every key has one writer: docs/design/0001 lists
them, common/rights.py says who may. Prefixes end with a slash, so that host `h1` never sees what belongs to `h10`.
"""

ROOT = "/v1/"

VM = f"{ROOT}vm/"
PLACEMENT = f"{ROOT}placement/"
STATUS_VM = f"{ROOT}status/vm/"
HOST = f"{ROOT}host/"
STATUS_HOST = f"{ROOT}status/host/"
INVENTORY = f"{ROOT}status/inventory/"
ALIVE = f"{ROOT}alive/"
STATUS_ALIVE = f"{ROOT}status/alive/"
IMAGE = f"{ROOT}image/"
STATUS_IMAGE = f"{ROOT}status/image/"
STATUS_IMAGE_STORE = f"{ROOT}status/image-store/"
IMAGE_USE = f"{ROOT}image-use/"
FILE = f"{ROOT}file/"
UPLOAD_SERVER = f"{ROOT}upload-server/"
USER = f"{ROOT}user/"
ACCOUNT = f"{ROOT}account/"
CHARGE = f"{ROOT}charge/"
PROJECT = f"{ROOT}project/"
SESSION = f"{ROOT}session/"
REQUEST = f"{ROOT}request/"
PERSON = f"{ROOT}person/"
LOGIN_DOOR = f"{ROOT}login-door/"
KNOWN_NETWORK = f"{ROOT}known-network/"
OTP = f"{ROOT}otp/"
OTP_TRIES = f"{ROOT}otp-tries/"
LEADER = f"{ROOT}leader/"
VERDICT = f"{ROOT}verdict/"
EVENT = f"{ROOT}event/"
STATUS_CLOUD = f"{ROOT}status/cloud"
NETWORK = f"{ROOT}network/"
STATUS_NETWORK = f"{ROOT}status/network/"
ENDPOINT = f"{ROOT}endpoint/"
VNI = f"{ROOT}vni/"
PREFIX = f"{ROOT}prefix/"
ADDRESS = f"{ROOT}address/"
PORT = f"{ROOT}port/"
SECURITY_GROUP = f"{ROOT}security-group/"
GROUP_MEMBER = f"{ROOT}group-member/"
GROUP_USE = f"{ROOT}group-use/"
SSH_KEY = f"{ROOT}ssh-key/"
NOTHING = f"{ROOT}none/"
"""Nothing is ever there: asked for to hear whether etcd answers, and at which revision it is."""


NO_HOST = "-"
"""Stands for the host in the status of a VM that has none; no host can be called so."""


API_REPORTER = "-api"
SCHEDULER_REPORTER = "-scheduler"
JUDGE_REPORTER = "-judge"
IMAGE_REPORTER = "-image"
"""Who tells of events beside the hosts, none of which can be called so."""


def vm(vm_uuid: str) -> str:
    """The request for a VM, written by ucloud_api."""
    return f"{VM}{vm_uuid}"


def placements(host: str) -> str:
    """The prefix of all orders to one host."""
    return f"{PLACEMENT}{host}/"


def placement(host: str, vm_uuid: str) -> str:
    """The order to `host` to run a VM, written by the elected ucloud_scheduler."""
    return f"{PLACEMENT}{host}/{vm_uuid}"


def vm_statuses(host: str) -> str:
    """The prefix of all VM statuses that one host reports."""
    return f"{STATUS_VM}{host}/"


def vm_status(host: str, vm_uuid: str) -> str:
    """What `host` sees of a VM, written by ucloud_vm on that host."""
    return f"{STATUS_VM}{host}/{vm_uuid}"


def host(name: str) -> str:
    """The admin's word on a host, written by ucloud_api."""
    return f"{HOST}{name}"


def host_status(name: str) -> str:
    """What a host measured of itself, written by ucloud_host on that host."""
    return f"{STATUS_HOST}{name}"


def inventory(name: str) -> str:
    """Where a host tells what there is on it, written by ucloud_vm on that host."""
    return f"{INVENTORY}{name}"


def alive(name: str) -> str:
    """Lease-bound sign of life of a host, written by ucloud_host on that host."""
    return f"{ALIVE}{name}"


def last_alive(name: str) -> str:
    """What a host's sign of life said last; it stays when that is gone. Written with it, in the same transaction."""
    return f"{STATUS_ALIVE}{name}"


def image(image_uuid: str) -> str:
    """The request for an image, written by ucloud_api."""
    return f"{IMAGE}{image_uuid}"


def image_status(image_uuid: str) -> str:
    """An image's import as it stands, written by the elected ucloud_image of its store."""
    return f"{STATUS_IMAGE}{image_uuid}"


def image_store_status(store: str) -> str:
    """How an image store is, written by its elected ucloud_image."""
    return f"{STATUS_IMAGE_STORE}{store}"


def image_uses(image_uuid: str) -> str:
    """The prefix under which every VM made from an image is noted; empty when the image may go."""
    return f"{IMAGE_USE}{image_uuid}/"


def image_use(image_uuid: str, vm_uuid: str) -> str:
    """Note that a VM's disk rests on an image; charged and released with the VM (common.admission)."""
    return f"{IMAGE_USE}{image_uuid}/{vm_uuid}"


def files(owner: str) -> str:
    """The prefix of all files that an owner uploaded."""
    return f"{FILE}{owner}/"


def file(owner: str, file_name: str) -> str:
    """A file that an owner uploaded, written by the elected ucloud_image."""
    return f"{FILE}{owner}/{file_name}"


def upload_server(host_name: str) -> str:
    """Where the API brings uploads; lease-bound, written by ucloud-image-sftp on that host."""
    return f"{UPLOAD_SERVER}{host_name}"


def name(owner: str, kind: str, thing_name: str) -> str:
    """Who of an owner's things of a kind holds a name; charged and released with the thing (common.admission)."""
    return f"{USER}{owner}/name/{kind}/{thing_name}"


def name_parts(name_key: str) -> tuple[str, str, str]:
    """The owner, the kind and the name of a key of `name`."""
    owner, _, kind, thing_name = name_key.removeprefix(USER).split("/", 3)
    return owner, kind, thing_name


def names(owner: str) -> str:
    """The prefix of all names that an owner's things hold."""
    return f"{USER}{owner}/name/"


def account(user: str) -> str:
    """What a user may do here, written by ucloud_api."""
    return f"{ACCOUNT}{user}"


def project(name: str) -> str:
    """Who has things together, and how much of them, written by ucloud_api."""
    return f"{PROJECT}{name}"


def charges(owner: str) -> str:
    """The prefix of all that is charged to an owner's quota."""
    return f"{CHARGE}{owner}/"


def charge(owner: str, thing_uuid: str) -> str:
    """What a thing takes of its owner's quota; charged and released with the thing (common.admission)."""
    return f"{CHARGE}{owner}/{thing_uuid}"


def session(token_sha256: str) -> str:
    """The session of a bearer token, known by its digest; lease-bound, written by ucloud_api."""
    return f"{SESSION}{token_sha256}"


def request(user: str, key_sha256: str) -> str:
    """The answer given to a user's request with an Idempotency-Key; lease-bound, written by ucloud_api."""
    return f"{REQUEST}{user}/{key_sha256}"


def person(user: str) -> str:
    """What LDAP said of a user last, written by whoever asked it (ucloud_api, the daemon of uploads)."""
    return f"{PERSON}{user}"


def login_doors(user: str) -> str:
    """The prefix of the counts of wrong proofs of one user."""
    return f"{LOGIN_DOOR}{user}/"


def login_door(user: str, door: str) -> str:
    """How often `user` was tried in vain through a door (common.lockout); lease-bound, written by whoever lets in."""
    return f"{LOGIN_DOOR}{user}/{door}"


def known_network(user: str, network: str) -> str:
    """That `user` logged in from a network not long ago; lease-bound, written by whoever lets in."""
    return f"{KNOWN_NETWORK}{user}/{network}"


def otp(realm: str, entry_name: str) -> str:
    """The seed of a name in a realm, written and read by ucloud_otp alone."""
    return f"{OTP}{realm}/{entry_name}"


def otp_tries(realm: str, entry_name: str) -> str:
    """How often in a row a name of a realm was tried with wrong tokens; lease-bound, written by ucloud_otp."""
    return f"{OTP_TRIES}{realm}/{entry_name}"


def leader(daemon: str) -> str:
    """The elected instance of a daemon, bound to its lease; its create revision fences every write of that leader."""
    return f"{LEADER}{daemon}"


def network(network_uuid: str) -> str:
    """A network, written by ucloud_api."""
    return f"{NETWORK}{network_uuid}"


def network_statuses(host_name: str) -> str:
    """The prefix of all that one host has of networks."""
    return f"{STATUS_NETWORK}{host_name}/"


def network_status(host_name: str, network_uuid: str) -> str:
    """What `host_name` has of a network, written by ucloud_net on that host."""
    return f"{STATUS_NETWORK}{host_name}/{network_uuid}"


def endpoints(network_uuid: str) -> str:
    """The prefix of the hosts that have VMs on a network."""
    return f"{ENDPOINT}{network_uuid}/"


def endpoint(network_uuid: str, host_name: str) -> str:
    """Where a host takes a network's VXLAN packets: an IPv6 address. Written by ucloud_net on that host."""
    return f"{ENDPOINT}{network_uuid}/{host_name}"


def vni(number: int) -> str:
    """Which network has a VXLAN network identifier; written with the network."""
    return f"{VNI}{number}"


def prefix(prefix64: str) -> str:
    """Which network has a prefix that others may not have, or which VM one of its own. The prefix is without "/64".

    Written with the network; charged and released with the VM (common.admission).
    """
    return f"{PREFIX}{prefix64}"


def addresses(network_uuid: str) -> str:
    """The prefix of all addresses that are held on a network; empty when the network may go."""
    return f"{ADDRESS}{network_uuid}/"


def address(network_uuid: str, address: str) -> str:
    """Who holds an address; charged and released with the VM (common.admission)."""
    return f"{ADDRESS}{network_uuid}/{address}"


def port(port_id: str) -> str:
    """Which VM has a port; charged and released with the VM (common.admission)."""
    return f"{PORT}{port_id}"


def security_group(group_uuid: str) -> str:
    """A security group, written by ucloud_api."""
    return f"{SECURITY_GROUP}{group_uuid}"


def group_members(group_uuid: str) -> str:
    """The prefix of the addresses of all ports in a security group; empty when the group may go."""
    return f"{GROUP_MEMBER}{group_uuid}/"


def group_member(group_uuid: str, address: str, port_id: str) -> str:
    """That an address is a member's; charged and released with the VM (common.admission)."""
    return f"{GROUP_MEMBER}{group_uuid}/{address}/{port_id}"


def group_uses(group_uuid: str) -> str:
    """The prefix of the other groups that have a rule about a security group; empty when the group may go."""
    return f"{GROUP_USE}{group_uuid}/"


def group_use(group_uuid: str, by_uuid: str) -> str:
    """That a rule of the group `by_uuid` is about another one; written with the group that has the rule."""
    return f"{GROUP_USE}{group_uuid}/{by_uuid}"


def ssh_keys(owner: str) -> str:
    """The prefix of a user's ssh keys."""
    return f"{SSH_KEY}{owner}/"


def ssh_key(owner: str, key_name: str) -> str:
    """A public ssh key of a user, written by ucloud_api."""
    return f"{SSH_KEY}{owner}/{key_name}"


def verdict(host_name: str) -> str:
    """What the elected judge, a ucloud_host, holds of a silent host; a host that is back removes its own."""
    return f"{VERDICT}{host_name}"


def events_of(reporter: str) -> str:
    """The prefix of all that one reporter (a host, or one of those above) tells."""
    return f"{EVENT}{reporter}/"


def events(reporter: str, kind: str, thing: str) -> str:
    """The prefix of what one reporter tells of a thing."""
    return f"{events_of(reporter)}{kind}/{thing}/"


def event(reporter: str, kind: str, thing: str, event_id: str) -> str:
    """Something that happened to a thing; lease-bound, never changed, written by the reporter."""
    return f"{events(reporter, kind, thing)}{event_id}"


def reporter_of(event_key: str) -> str:
    """Who tells of an event."""
    return event_key.removeprefix(EVENT).split("/", 1)[0]


def kind_and_thing(event_key: str) -> tuple[str, str]:
    """The kind and the name of what an event happened to."""
    _, kind, thing, _ = event_key.rsplit("/", 3)
    return kind, thing


def last_part(key: str) -> str:
    """The id at the end of a key: the VM's uuid of a placement, the host of `/v1/alive/<host>`."""
    return key.rsplit("/", 1)[1]


def host_and_vm(key: str) -> tuple[str, str]:
    """The host and the VM of a placement or of a VM's status; likewise the network of a network's status."""
    _, host_name, vm_uuid = key.rsplit("/", 2)
    return host_name, vm_uuid
