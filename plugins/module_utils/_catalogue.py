# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Every check of this collection, once: what it asks, why it fails, what to do, where to read more.

One id for each distinct remedy. Fields in braces are filled by the module that
runs the check; docs/problems.md and the report are made from these entries.
Ids keep their meaning for ever: an entry that is dropped leaves its number unused.
"""

from __future__ import annotations

from ansible_collections.flyte.onprem.plugins.module_utils._checks import Entry

# What to try first where things may only be late.
_JUST_STARTED = (
    "Within minutes after a start of the host, parts are still starting: kubectl get pods -A shows their age; wait "
    "until they are ready and ask again. Otherwise: "
)

# Context of the TLS entries: {endpoint} (scheme://host:port) and {host}.
TLS = (
    Entry(
        id="TLS-10",
        title="{endpoint} speaks TLS",
        expected="a TLS handshake",
        cause=(
            "The port answers, but not with TLS that this machine accepts: plain HTTP, or only protocol versions "
            "too old."
        ),
        fix="Give the address with the right scheme and port, or enable TLS 1.2 or newer on the service.",
    ),
    Entry(
        id="TLS-11",
        title="The certificate of {endpoint} is trusted",
        expected="a certificate chain that ends in the given CA",
        cause=(
            "The certificate was issued by another CA than the one given here, or intermediate certificates are "
            "missing from what the service sends."
        ),
        fix=(
            "Give the CA that issued the certificate as ca_file, or install a certificate of that CA together "
            "with its intermediates on the service."
        ),
    ),
    Entry(
        id="TLS-12",
        title="The certificate of {endpoint} is for {host}",
        expected="{host} among the certificate's subject alternative names",
        cause="The certificate was issued for other names or addresses.",
        fix=(
            "Connect by a name that the certificate holds, or issue one whose subject alternative names include {host}."
        ),
        reference="https://github.com/flyteorg/flyte/issues/2371",
    ),
    Entry(
        id="TLS-13",
        title="The certificate of {endpoint} is valid now",
        expected="a certificate valid now and for 14 more days",
        cause="The certificate has expired, soon will, or is not valid yet by this machine's clock.",
        fix=("Renew the certificate and reload the service; if the dates look right, correct this machine's clock."),
    ),
    Entry(
        id="TLS-14",
        title="{endpoint} is written with the scheme that is served",
        expected="https:// where the port speaks TLS, http:// where it does not",
        cause="The address says one scheme, and the service at this port speaks the other.",
        fix="Write the address with the other scheme, or give the port at which the service speaks this one.",
    ),
    Entry(
        id="TLS-15",
        title="The certificate of {endpoint} keeps to the standard",
        expected="a certificate that strict clients take (RFC 5280)",
        cause=(
            "The certificate, or that of a CA on its way, lacks something that the standard demands. Go and older "
            "Pythons take it; Python 3.13 and newer, this check's own perhaps and that of tasks, refuse it."
        ),
        fix=(
            "Issue the certificate anew with what is named above (an Authority Key Identifier in each but the root's; "
            "Basic Constraints that are critical and Key Usage in each CA's)."
        ),
    ),
)

# Context of the S3 entries: {endpoint}, {host}, {public_endpoint}, {region}, and {bucket} where a bucket is asked.
S3 = (
    Entry(
        id="S3-01",
        title="The public S3 name {host} resolves",
        expected="an address for {host}",
        cause=(
            "Signed URLs carry this name; browsers and clients that cannot resolve it cannot upload. Often the "
            "in-cluster name was used, or the DNS record is missing."
        ),
        fix="Create a DNS record for {host}, or set the public endpoint to a name that clients resolve.",
        reference="https://github.com/flyteorg/flyte/issues/5663",
    ),
    Entry(
        id="S3-04",
        title="Bucket {bucket} exists",
        expected="bucket {bucket}",
        cause="Flyte starts without its bucket and fails only at the first upload or run.",
        fix=("Create bucket {bucket}, or correct its name. Buckets are case-sensitive and belong to one store."),
    ),
    Entry(
        id="S3-06",
        title="Bucket {bucket} is reached by the addressing style asked for",
        expected="an answer at the bucket's own host name",
        cause=(
            "With virtual-host addressing the bucket is a host name of its own; it has no DNS record or no "
            "certificate here."
        ),
        fix=(
            "Use addressing_style path, which on-premises stores expect, or add wildcard DNS and a wildcard "
            "certificate."
        ),
    ),
    Entry(
        id="S3-07",
        title="A signed URL works through {public_endpoint} (bucket {bucket})",
        expected="an upload and a download of more than 1 MiB by signed URL, with the content unchanged",
        cause=("Something between client and store changes what was signed: the Host header, the path, or the query."),
        fix=(
            "Give S3 a host name of its own at the proxy, with no path prefix, and pass the Host header through "
            "unchanged."
        ),
        reference="https://github.com/minio/minio/issues/7857",
    ),
    Entry(
        id="S3-08",
        title="The clocks of this machine and of {endpoint} agree",
        expected="a difference of less than {max_clock_skew} seconds",
        cause="A signature holds the time; S3 refuses requests whose time is more than 15 minutes off.",
        fix=(
            "Run a time service (chrony, systemd-timesyncd) on the store's hosts and on this machine, and correct "
            "the clock that is wrong."
        ),
    ),
    Entry(
        id="S3-10",
        title="The bucket name {bucket} is valid",
        expected="3 to 63 characters: lower-case letters, digits, dots, hyphens",
        cause="The store does not accept this bucket name.",
        fix="Choose another bucket name and set it for the site.",
    ),
    Entry(
        id="S3-11",
        title="Bucket {bucket} may be listed",
        expected="s3:ListBucket allowed on arn:aws:s3:::{bucket}",
        cause=(
            "The policy of this user lacks s3:ListBucket, or gives it on the objects (…/*) and not on the bucket "
            "itself."
        ),
        fix="Allow s3:ListBucket on arn:aws:s3:::{bucket} in the user's policy.",
    ),
    Entry(
        id="S3-12",
        title="Objects may be written to bucket {bucket}",
        expected="s3:PutObject allowed on arn:aws:s3:::{bucket}/*",
        cause="The policy of this user, or of the bucket, does not allow s3:PutObject on its objects.",
        fix="Allow s3:PutObject on arn:aws:s3:::{bucket}/* in the user's policy.",
    ),
    Entry(
        id="S3-13",
        title="Objects may be read from bucket {bucket}",
        expected="s3:GetObject allowed on arn:aws:s3:::{bucket}/*",
        cause="The policy of this user, or of the bucket, does not allow s3:GetObject on its objects.",
        fix="Allow s3:GetObject on arn:aws:s3:::{bucket}/* in the user's policy.",
    ),
    Entry(
        id="S3-14",
        title="Objects may be deleted from bucket {bucket}",
        expected="s3:DeleteObject allowed on arn:aws:s3:::{bucket}/*",
        cause="The policy of this user, or of the bucket, does not allow s3:DeleteObject on its objects.",
        fix="Allow s3:DeleteObject on arn:aws:s3:::{bucket}/* in the user's policy.",
    ),
    Entry(
        id="S3-15",
        title="Large objects may be written in parts to bucket {bucket}",
        expected="a multipart upload of more than 5 MiB, with the size unchanged",
        cause=(
            "Small objects can be written and large ones cannot: the store or a proxy before it refuses multipart "
            "requests."
        ),
        fix=(
            "Let the proxy pass POST and PUT with the query parameters uploads, uploadId and partNumber and "
            "bodies of at least 100 MiB; read the store's log for its reason."
        ),
    ),
    Entry(
        id="S3-16",
        title="Objects in bucket {bucket} may be replaced",
        expected="the second content when an object was written twice",
        cause=(
            "The bucket keeps objects from being overwritten (object lock, a write-once policy), or a cache "
            "before the store answers with old content."
        ),
        fix="Use a bucket without object lock for Flyte, and no cache between Flyte and the store.",
    ),
    Entry(
        id="S3-17",
        title="Uploads in parts to bucket {bucket} may be abandoned",
        expected="s3:AbortMultipartUpload allowed on arn:aws:s3:::{bucket}/*",
        cause="Without this right, parts of interrupted uploads stay in the store and take space.",
        fix="Allow s3:AbortMultipartUpload on arn:aws:s3:::{bucket}/* in the user's policy.",
    ),
    Entry(
        id="S3-18",
        title="Object names with special characters work in bucket {bucket}",
        expected="an object with spaces, plus, percent and non-ASCII letters in its name, written and read",
        cause=(
            "A proxy before the store decodes or rewrites paths, so that the signature no longer matches or the "
            "name changes."
        ),
        fix="Let the proxy pass the path as it came, without decoding, merging slashes or rewriting.",
    ),
    Entry(
        id="S3-19",
        title="No earlier check left anything in bucket {bucket}",
        expected="nothing below {probe_prefix}",
        cause="A check was stopped in the middle, or runs at this moment, or may not delete what it wrote.",
        fix="If no check is running, delete what is below {probe_prefix} in bucket {bucket}.",
    ),
    Entry(
        id="S3-20",
        title="The name {host} resolves",
        expected="an address for {host}",
        cause="This machine's DNS does not know the name of the object store.",
        fix=(
            "Correct the endpoint, add a DNS record or an entry in /etc/hosts for {host}, or give its address in "
            "the option resolve."
        ),
    ),
    Entry(
        id="S3-21",
        title="{endpoint} accepts connections",
        expected="an open TCP port",
        cause="The host answers, but nothing listens on this port, or a firewall rejects it.",
        fix=(
            "Start the object store (systemctl status minio), check its address and port, and open the port in "
            "the firewall."
        ),
    ),
    Entry(
        id="S3-22",
        title="There is a way to {endpoint}",
        expected="a connection within {timeout} seconds",
        cause=(
            "Packets to this address are lost or have no route: the host is off, the address is wrong, or a "
            "firewall drops them."
        ),
        fix="Check the address, that the host is up, the route to it, and firewalls on the way.",
    ),
    Entry(
        id="S3-23",
        title="{endpoint} answers",
        expected="each answer within {timeout} seconds",
        cause=(
            "The connection stands, but the store does not answer: it is overloaded, its disks hang, or a proxy "
            "waits for a backend that is down."
        ),
        fix=(
            "Look at the store's own log and load, and at the proxy's backends; raise timeout only if the store "
            "is known to be slow."
        ),
    ),
    Entry(
        id="S3-24",
        title="{endpoint} is an S3 service",
        expected="an answer in the form of S3",
        cause="Something else answers here: a web console, another service, or a proxy's own page.",
        fix=(
            "Give the address of the S3 API, not of the console, and without a path. MinIO's API is on port 9000 "
            "unless set otherwise."
        ),
    ),
    Entry(
        id="S3-25",
        title="{endpoint} knows the access key",
        expected="a known, enabled access key",
        cause="The store has no such access key, or its user is disabled.",
        fix=(
            "Create or enable the user, or give the access key that the store knows. Mind that keys belong to one "
            "store."
        ),
    ),
    Entry(
        id="S3-26",
        title="{endpoint} accepts the secret key",
        expected="a matching signature",
        cause=(
            "The secret key is not that of this access key, or a proxy changes the Host header or the path that "
            "was signed."
        ),
        fix=(
            "Give the secret key that belongs to the access key; if it is right, let the proxy pass Host and path "
            "unchanged."
        ),
        reference="https://github.com/minio/minio/issues/15173",
    ),
    Entry(
        id="S3-27",
        title="{endpoint} accepts the session token",
        expected="a valid session token",
        cause="The temporary credentials have expired or their session token is not valid.",
        fix="Get new temporary credentials, or use an access key that lasts; Flyte needs one that lasts.",
    ),
    Entry(
        id="S3-28",
        title="Region {region} is that of the store",
        expected="requests signed for the store's own region",
        cause="The signature names another region than the store or bucket has.",
        fix="Set region to the one the store names above (MinIO without a region set takes us-east-1).",
    ),
    Entry(
        id="S3-29",
        title="Other buckets are hidden from this access key",
        expected="no bucket but those asked for",
        cause=(
            "The access key sees more of the store than Flyte needs; with it, a task can reach other people's data."
        ),
        fix="Give Flyte a user of its own whose policy names Flyte's buckets only.",
    ),
    Entry(
        id="S3-30",
        title="{endpoint} is in order",
        expected="no server errors",
        cause="The store itself reports a fault or asks to slow down.",
        fix=(
            "Look at the store's own state and log (offline drives, missing quorum, start-up not finished, rate "
            "limits), then run the check again."
        ),
    ),
    Entry(
        id="S3-31",
        title="There is room for objects in bucket {bucket}",
        expected="free space and quota",
        cause="The store's disks are full, or the bucket's or user's quota is used up.",
        fix="Free space, add drives, or raise the quota.",
    ),
    Entry(
        id="S3-32",
        title="{endpoint} supports what Flyte uses",
        expected="the operation to be supported",
        cause="This store does not implement the operation, or a gateway before it blocks the method.",
        fix="Use a store or a version that has it, and let proxies pass GET, HEAD, PUT, POST and DELETE.",
    ),
    Entry(
        id="S3-33",
        title="What a check writes to bucket {bucket} can be removed for good",
        expected="no versions left after deletion",
        cause=(
            "The bucket keeps old versions, and this user may not delete them or a retention rule forbids it. "
            "Flyte's own data grows in the same way."
        ),
        fix=(
            "Use a bucket without versioning for Flyte, or a lifecycle rule that expires old versions; the "
            "versions named above may be deleted by an administrator."
        ),
    ),
    Entry(
        id="S3-34",
        title="{public_endpoint} takes bodies of more than 1 MiB",
        expected="an upload of more than 1 MiB",
        cause="A proxy before the store limits the size of a request.",
        fix="Remove the limit for the S3 host name (NGINX: client_max_body_size 0; and no buffering).",
        reference="https://github.com/minio/minio/issues/6546",
    ),
    Entry(
        id="S3-35",
        title="{public_endpoint} leads to the same store",
        expected="the bucket and keys known at {endpoint}",
        cause="The public endpoint is another store, or a proxy answers in its place.",
        fix="Point the public endpoint's name and proxy route at the same object store, at its API port.",
    ),
    Entry(
        id="S3-36",
        title="Bucket {bucket} can encrypt",
        expected="encryption that works, or none asked for",
        cause="The bucket asks for encryption, and the store has no working key service.",
        fix="Configure the store's key service, or remove default encryption from the bucket.",
    ),
    Entry(
        id="S3-38",
        title="Credentials for {endpoint} were found",
        expected="an access key and a secret key",
        cause="No keys were given, and boto3's own places (environment, ~/.aws) hold none.",
        fix="Give access_key and secret_key.",
    ),
    Entry(
        id="S3-39",
        title="{endpoint} gives answers that are known",
        expected="an answer in the form of S3, and an error, if any, that this check knows",
        cause="The store refused with an error that this check does not know; it is shown whole above.",
        fix=(
            "Look the error up in the store's documentation and log; please report it, so that the check can name "
            "its cause."
        ),
    ),
    Entry(
        id="S3-40",
        title="Objects come back from bucket {bucket} as they were written",
        expected="the content that was written",
        cause="A cache or proxy before the store changes content, or the store's data is damaged.",
        fix=(
            "Take caches and content rewriting out of the way to the store; have the store check its data (mc "
            "admin heal)."
        ),
    ),
    Entry(
        id="S3-41",
        title="Nothing but what Flyte needs is allowed on bucket {bucket}",
        expected="no s3:PutBucketPolicy and no s3:DeleteBucket",
        cause=(
            "The policy of this user has all rights on the bucket (s3:*). Whoever runs a task as Flyte could open the "
            "bucket to everybody, or delete it."
        ),
        fix=(
            "Allow this user s3:ListBucket and s3:GetBucketLocation on arn:aws:s3:::{bucket}, and s3:GetObject, "
            "s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts on "
            "arn:aws:s3:::{bucket}/*, and nothing else."
        ),
    ),
    Entry(
        id="S3-42",
        title="Signed requests arrive at {endpoint} with their signature",
        expected="a refusal of an access key that does not exist, other than that of everything else",
        cause=(
            "Everything is denied, also to an access key that nobody has: the store sees requests without a signature. "
            "A proxy before it takes the Authorization header away (one that does basic or single sign-on itself, say)."
        ),
        fix=(
            "Let the proxy pass the Authorization header and ask for no login of its own on the S3 host name. If there "
            "is no proxy, this store denies unknown keys as it denies rights: look at the user and its policy there."
        ),
    ),
    Entry(
        id="S3-43",
        title="Requests arrive at {endpoint} as they were sent",
        expected="no complaint about the form of a request",
        cause=(
            "The store finds the request malformed. Something before it cut the body, or dropped or rewrote headers or "
            "the query; or the store speaks another dialect of S3."
        ),
        fix=(
            "Ask the store without the proxy (its own address as endpoint): if that works, let the proxy pass bodies, "
            "query and the headers Content-Length, Content-MD5 and x-amz-* unchanged; else look at the store's log."
        ),
    ),
    Entry(
        id="S3-44",
        title="The names of objects are accepted in bucket {bucket}",
        expected="object names below the prefix that Flyte writes to",
        cause=(
            "The store does not take this name: an object lies where the prefix has a folder, or the name is too long "
            "or has characters that the store's file system does not take."
        ),
        fix="Give another prefix, or remove the object of bucket {bucket} that lies where the prefix has a folder.",
    ),
    Entry(
        id="S3-45",
        title="Objects of bucket {bucket} may be removed before their time",
        expected="no object lock that keeps what was written",
        cause=(
            "The bucket has object lock with a retention period: nothing that is written can be removed before it "
            "ends. Flyte cannot clear away its data, and the bucket only grows."
        ),
        fix=(
            "Use a bucket without object lock for Flyte. What this check left, named above, can be removed when its "
            "retention ends."
        ),
    ),
    Entry(
        id="S3-46",
        title="The keys for {endpoint} can be sent",
        expected="access key, secret key and session token without white space and other odd characters",
        cause=(
            "A line end or blank came along when the key was copied or read from a file, or it was pasted from a text "
            "that puts special characters in place of plain ones."
        ),
        fix="Give the key again as the store shows it; from a file: lookup('ansible.builtin.file', path) | trim.",
    ),
    Entry(
        id="S3-47",
        title="What is written to bucket {bucket} is found again, and what is deleted is gone",
        expected="at each request what the requests before it have done",
        cause=(
            "One address leads in turn to several stores that do not share their data (behind a load balancer, or a "
            "name with several addresses), or a proxy or cache before the store answers requests itself that it should "
            "pass on."
        ),
        fix=(
            "Give the address of one server of the store as endpoint: if that passes, let the address lead to one "
            "store only (MinIO servers share data only when started as one cluster), and let proxies pass every PUT, "
            "POST and DELETE on."
        ),
    ),
)

# Context of the PostgreSQL entries: {endpoint}, {host}, {port}, {database}, {user}, {sslmode}, {timeout}, {schema},
# {minimum_version}, {maximum_version}, {pool_size}, {generation}, {max_clock_skew}.
DATABASE = (
    Entry(
        id="DB-01",
        title="Flyte can use the database password",
        expected="no white space, backslash, opening apostrophe or double braces",
        cause=(
            "Flyte puts the password without quotes into its connection string; some characters end or change it there."
        ),
        fix="Give user {user} a password of letters and digits (such as 32 of them), in PostgreSQL and in the site.",
    ),
    Entry(
        id="DB-02",
        title="A database password is given",
        expected="a password",
        cause="With an empty password Flyte drops its connection options and turns TLS off.",
        fix="Give user {user} a password of letters and digits (such as 32 of them), in PostgreSQL and in the site.",
    ),
    Entry(
        id="DB-05",
        title="User {user} may create tables in database {database}",
        expected="CREATE on schema {schema}",
        cause="Flyte makes its tables itself. Since PostgreSQL 15 nobody but the owner may create in schema public.",
        fix=(
            "Make the user owner of the database: ALTER DATABASE {database} OWNER TO {user}; or, in that database: "
            "GRANT ALL ON SCHEMA {schema} TO {user}."
        ),
        reference="https://github.com/ansible-collections/community.postgresql/issues/716",
    ),
    Entry(
        id="DB-06",
        title="Notifications pass from session to session",
        expected="a NOTIFY of one session received by another that LISTENs",
        cause=(
            "Between here and the server is a pooler in transaction mode (pgbouncer, say), which loses notifications "
            "and session state. Flyte 2 learns of its runs' progress by notifications."
        ),
        fix="Point Flyte at PostgreSQL itself, or at a pool in session mode (pgbouncer: pool_mode = session).",
    ),
    Entry(
        id="DB-07",
        title="The server has room for Flyte's connections",
        expected="{pool_size} connections for user {user}",
        cause=(
            "Flyte keeps a pool of connections; when the server has fewer, requests fail with 'too many clients' "
            "under load."
        ),
        fix=(
            "Raise max_connections and restart PostgreSQL, raise a limit of the user or database (CONNECTION LIMIT), "
            "or lower Flyte's database.maxOpenConnections (and pool_size here)."
        ),
    ),
    Entry(
        id="DB-08",
        title="The server is not too old",
        expected="PostgreSQL {minimum_version} or newer",
        cause="Flyte's tables and queries need a newer PostgreSQL.",
        fix="Upgrade the server (pg_upgrade, or dump and restore), or use another one.",
    ),
    Entry(
        id="DB-10",
        title="The name {host} resolves",
        expected="an address for {host}",
        cause="The DNS of the machine that asks does not know the name of the database server.",
        fix=(
            "Correct the host, add a DNS record or an entry in /etc/hosts for {host}, or give its address in the "
            "option address."
        ),
    ),
    Entry(
        id="DB-11",
        title="There is a way to {endpoint}",
        expected="a connection within {timeout} seconds",
        cause="Packets are lost or have no route: the host is off, the address is wrong, or a firewall drops them.",
        fix="Check the address, that the host is up, the route to it, and firewalls on the way.",
    ),
    Entry(
        id="DB-12",
        title="{endpoint} accepts connections",
        expected="an open TCP port",
        cause=(
            "The host answers, but PostgreSQL does not run, listens on another port or only on localhost, or a "
            "firewall rejects."
        ),
        fix=(
            "Start PostgreSQL, look at listen_addresses and port in postgresql.conf (ss -ltn shows what listens), "
            "and open the port in the firewall."
        ),
    ),
    Entry(
        id="DB-13",
        title="{endpoint} speaks PostgreSQL",
        expected="an answer in PostgreSQL's protocol within {timeout} seconds",
        cause="Something else listens on this port, a proxy has no server behind it, or the server hangs.",
        fix="Check host and port; if they are right, look at the server's log and load, and at the proxy's backends.",
    ),
    Entry(
        id="DB-14",
        title="{endpoint} offers TLS",
        expected="TLS 1.2 or newer, as sslmode {sslmode} demands",
        cause="TLS is off in the server, or it offers only versions that are too old.",
        fix=(
            "Set ssl = on, ssl_cert_file and ssl_key_file in postgresql.conf and reload, or choose another sslmode "
            "if the way to the server is safe."
        ),
    ),
    Entry(
        id="DB-15",
        title="{endpoint} admits user {user} to database {database}",
        expected="a line of pg_hba.conf that admits user, database, this machine's address and the encryption used",
        cause="The first matching line of pg_hba.conf rejects, or none matches. Lines of type hostssl match TLS only.",
        fix=(
            "Add a line to pg_hba.conf, such as: hostssl {database} {user} <address of the clients>/32 "
            "scram-sha-256; then reload PostgreSQL. The addresses of Flyte's pods are needed as well as this "
            "machine's."
        ),
    ),
    Entry(
        id="DB-16",
        title="The password of user {user} is accepted",
        expected="a successful authentication",
        cause=(
            "The password is not that of the user, the user does not exist, or its password has expired (VALID UNTIL)."
        ),
        fix="Set the password the site uses: ALTER ROLE {user} PASSWORD '…'; or give the site the one the server has.",
    ),
    Entry(
        id="DB-17",
        title="User {user} may connect to database {database}",
        expected="a user with LOGIN, and CONNECT on the database",
        cause="The user does not exist, may not log in (NOLOGIN), or CONNECT on the database was revoked.",
        fix="ALTER ROLE {user} LOGIN; GRANT CONNECT ON DATABASE {database} TO {user};",
    ),
    Entry(
        id="DB-18",
        title="Database {database} exists",
        expected="database {database}",
        cause="The database was not created. Flyte could create it only with rights that it should not have.",
        fix="CREATE DATABASE {database} OWNER {user} ENCODING 'UTF8' TEMPLATE template0;",
    ),
    Entry(
        id="DB-19",
        title="{endpoint} has a connection left",
        expected="a free connection for user {user}",
        cause="All connections that the server, the database or the user may have are taken.",
        fix=(
            "Find who holds them (SELECT usename, client_addr, count(*) FROM pg_stat_activity GROUP BY 1, 2), end "
            "what is idle, then raise max_connections or the CONNECTION LIMIT."
        ),
    ),
    Entry(
        id="DB-20",
        title="{endpoint} accepts sessions",
        expected="a session that is ready for queries",
        cause=(
            "The server starts, stops or recovers at this moment, the database is closed to connections, or it "
            "refuses for the reason shown."
        ),
        fix=(
            "Wait for the server and look at its log; for a closed database: ALTER DATABASE {database} "
            "ALLOW_CONNECTIONS true."
        ),
    ),
    Entry(
        id="DB-21",
        title="Queries are answered",
        expected="a session by libpq, and an answer to a query",
        cause="The login worked, but libpq's session or the query failed for the reason shown.",
        fix=(
            "Look at the server's log, and at what lies between (a pooler, a proxy); please report it if the reason "
            "is none of these."
        ),
    ),
    Entry(
        id="DB-22",
        title="The server is not too new",
        expected="PostgreSQL {maximum_version} or older",
        cause="The server is newer than the newest version asked for.",
        fix="Use an older server, or raise maximum_version after a test.",
    ),
    Entry(
        id="DB-23",
        title="The server's version still gets fixes",
        expected="a major version within its five years of support",
        cause="The PostgreSQL project no longer fixes this major version, security faults included.",
        fix="Plan an upgrade to a supported major version.",
        reference="https://www.postgresql.org/support/versioning/",
    ),
    Entry(
        id="DB-24",
        title="The password is asked for by SCRAM",
        expected="scram-sha-256",
        cause="pg_hba.conf admits this user by a weaker method, or the stored password is an old md5 hash.",
        fix=(
            "Set password_encryption = 'scram-sha-256', set the user's password again, and use scram-sha-256 in "
            "pg_hba.conf."
        ),
    ),
    Entry(
        id="DB-25",
        title="The server is the primary",
        expected="a server that is not in recovery",
        cause="This is a read-only standby, or the server is being restored.",
        fix=(
            "Give the primary's address (behind a proxy: the port for writing), or promote this server: SELECT "
            "pg_promote()."
        ),
    ),
    Entry(
        id="DB-26",
        title="Transactions may write",
        expected="transactions that are not read-only",
        cause="default_transaction_read_only is set for the server, the database or the user.",
        fix=(
            "ALTER DATABASE {database} RESET default_transaction_read_only; ALTER ROLE {user} RESET "
            "default_transaction_read_only; or the same in postgresql.conf."
        ),
    ),
    Entry(
        id="DB-27",
        title="Database {database} is in UTF-8",
        expected="encoding UTF8",
        cause="Names and inputs of workflows hold any character; in this encoding some cannot be stored.",
        fix="Create the database anew: CREATE DATABASE {database} OWNER {user} ENCODING 'UTF8' TEMPLATE template0.",
    ),
    Entry(
        id="DB-28",
        title="Database {database} is not used by another generation of Flyte",
        expected="no tables but those of Flyte {generation}",
        cause=(
            "Flyte 1 and Flyte 2 have tables of the same names with different columns; the second one fails in its "
            "queries."
        ),
        fix="Give each generation a database of its own.",
    ),
    Entry(
        id="DB-29",
        title="The clocks of this machine and of the server agree",
        expected="a difference of at most {max_clock_skew} seconds",
        cause=(
            "One of the two clocks is wrong. Certificates and signed URLs stop working, and times in Flyte's records "
            "do not fit."
        ),
        fix="Run a time service (chrony, systemd-timesyncd) on both machines, and correct the clock that is wrong.",
    ),
    Entry(
        id="DB-30",
        title="Flyte's tables belong to user {user}",
        expected="no table of Flyte in schema {schema} that another user owns",
        cause=(
            "The tables were restored or made by another user, an administrator say. Flyte changes its tables when it "
            "starts, which only their owner may."
        ),
        fix=(
            "In database {database}, as an administrator: REASSIGN OWNED BY <the other user> TO {user}; for tables of "
            "user postgres, ALTER TABLE {schema}.<table> OWNER TO {user} for each."
        ),
    ),
)

# Context of the Kubernetes entries: {endpoint} and {host} of the API server, {kubeconfig}, {context}, {timeout},
# {minimum_version}, {maximum_version}, {expected_nodes}, {minimum_cpu}, {minimum_memory}, {storage_class},
# {ingress_class}, {ingress_controller}, {namespace}, {task_cpu}, {task_memory}, {image}, {pod_timeout}. Of a service
# that pods must reach: {endpoint} and {host}.
CLUSTER = (
    Entry(
        id="K8S-01",
        title="The kubeconfig can be used",
        expected="a kubeconfig at {kubeconfig} with context {context}",
        cause=(
            "The file is not there, is no kubeconfig, has no such context, or holds a server, an authority or "
            "credentials that cannot be used. A site's own is made when its cluster is."
        ),
        fix=(
            "Run the playbook flyte.onprem.cluster, which writes the site's kubeconfig, or give the right file and "
            "context (kubectl config get-contexts shows them)."
        ),
    ),
    Entry(
        id="K8S-02",
        title="The client's certificate in the kubeconfig is valid",
        expected="a certificate valid now and for 14 more days",
        cause="The client certificate has expired, soon will, or is not valid yet by this machine's clock.",
        fix=(
            "For a k3s of this collection run the playbook flyte.onprem.cluster: it restarts nodes whose certificates "
            "end soon, which renews them, and fetches the new kubeconfig. For another cluster get a new kubeconfig."
        ),
    ),
    Entry(
        id="K8S-03",
        title="The API server's certificate is verified",
        expected="a kubeconfig with the cluster's CA",
        cause="Whoever can redirect the connection can take the cluster's place and read every Secret that is sent.",
        fix=(
            "Put the cluster's CA into the kubeconfig (certificate-authority-data) and remove insecure-skip-tls-verify."
        ),
    ),
    Entry(
        id="K8S-04",
        title="The credential plugin of the kubeconfig gives credentials",
        expected="credentials within {timeout} seconds",
        cause=(
            "The plugin is not installed on the machine that runs the module, has failed there, or waits for "
            "something: a login in a browser, an answer to a question, a server that is not there."
        ),
        fix=(
            "On that machine and as the same user, set the plugin up and log in until kubectl get nodes works there "
            "without a question; or give a kubeconfig with a token or a certificate. Raise timeout only if the plugin "
            "is known to be slow."
        ),
    ),
    Entry(
        id="K8S-10",
        title="The name {host} of the API server resolves",
        expected="an address for {host}",
        cause="This machine's DNS does not know the name that stands in the kubeconfig.",
        fix="Correct the server in the kubeconfig, or add a DNS record or an entry in /etc/hosts for {host}.",
    ),
    Entry(
        id="K8S-11",
        title="There is a way to {endpoint}",
        expected="a connection within {timeout} seconds",
        cause="Packets are lost or have no route: the host is off, the address is wrong, or a firewall drops them.",
        fix="Check the address, that the host is up, the route to it, and firewalls on the way.",
    ),
    Entry(
        id="K8S-12",
        title="{endpoint} accepts connections",
        expected="an open TCP port",
        cause="The host answers, but the API server does not run or listens on another port, or a firewall rejects.",
        fix=(
            "On the server, look at systemctl status k3s and journalctl -u k3s; start it, and open the port in the "
            "firewall."
        ),
    ),
    Entry(
        id="K8S-13",
        title="The API server knows the user of the kubeconfig",
        expected="accepted credentials",
        cause="The token or certificate is of another cluster, was revoked, or has expired.",
        fix="Get a new kubeconfig for this cluster; for a site's own, run the playbook flyte.onprem.cluster.",
    ),
    Entry(
        id="K8S-14",
        title="The API server is ready",
        expected="ok from /readyz",
        cause="A part of the API server has not started or has failed; most often its datastore.",
        fix="Wait a minute after a start; then look at journalctl -u k3s on the server for the part named above.",
    ),
    Entry(
        id="K8S-15",
        title="The API server answers",
        expected="an answer to each request within {timeout} seconds",
        cause=(
            "The API server, its datastore or a proxy before it is overloaded or broken, or gave an error that this "
            "check does not know."
        ),
        fix="Look at the server's load, free memory and disk, and at journalctl -u k3s.",
    ),
    Entry(
        id="K8S-20",
        title="Kubernetes is not too old",
        expected="Kubernetes {minimum_version} or newer",
        cause="The charts need a newer Kubernetes.",
        fix="Upgrade the cluster, one minor version at a time.",
    ),
    Entry(
        id="K8S-21",
        title="Kubernetes is not too new",
        expected="Kubernetes {maximum_version} or older",
        cause="The cluster is newer than the newest version asked for, or than any on which Flyte was tried.",
        fix="Use a cluster of an older version, or try Flyte on this one and set maximum_version to it.",
    ),
    Entry(
        id="K8S-22",
        title="The nodes are ready",
        expected="every node Ready, at least {expected_nodes} of them",
        cause="A node has not joined, its kubelet is stopped, or it lacks memory, disk or network.",
        fix=(
            "On the node named above, look at systemctl status k3s (or k3s-agent) and its journal; kubectl describe "
            "node shows its conditions."
        ),
    ),
    Entry(
        id="K8S-35",
        title="The nodes' addresses are those that a database outside of the cluster lets in",
        expected="each node's address in one of {node_networks}",
        cause="The pods of such a node reach the database with an address from which it takes no connection.",
        fix=(
            "Name the networks of all nodes as node_cidr in site_kubernetes_connection, separated by commas, and run "
            "flyte.onprem.backends."
        ),
    ),
    Entry(
        id="K8S-23",
        title="The nodes have enough CPU",
        expected="{minimum_cpu} cores for pods",
        cause="Flyte's tasks wait forever when no node can give what they ask.",
        fix="Add cores or nodes, uncordon nodes that are out of use, or ask for less.",
        reference="https://github.com/flyteorg/flyte/issues/2933",
    ),
    Entry(
        id="K8S-24",
        title="The nodes have enough memory",
        expected="{minimum_memory} for pods",
        cause="Flyte's tasks wait forever when no node can give what they ask.",
        fix="Add memory or nodes, uncordon nodes that are out of use, or ask for less.",
        reference="https://github.com/flyteorg/flyte/issues/2933",
    ),
    Entry(
        id="K8S-25",
        title="There is a storage class",
        expected="storage class {storage_class}",
        cause="Volumes of pods are made by a storage class; none is marked as default, or it has another name.",
        fix=(
            "Install a storage provider (k3s brings local-path, unless it is disabled), or mark a class as default "
            "with the annotation storageclass.kubernetes.io/is-default-class."
        ),
    ),
    Entry(
        id="K8S-26",
        title="Ingress class {ingress_class} is there",
        expected="ingress class {ingress_class}",
        cause=(
            "No ingress controller is installed, or it serves another class; then nothing answers at Flyte's address."
        ),
        fix=(
            "Install the ingress controller (for a site's own, run the playbook flyte.onprem.ingress), or set the "
            "class to one that there is."
        ),
    ),
    Entry(
        id="K8S-27",
        title="Ingress class {ingress_class} belongs to the controller that is expected",
        expected="controller {ingress_controller}",
        cause=(
            "Classes of the same name belong to different products: nginx may be F5's controller or the retired "
            "ingress-nginx, and their annotations differ."
        ),
        fix="Choose the site's ingress provider to match the controller, or another class.",
    ),
    Entry(
        id="K8S-28",
        title="The pods in namespace {namespace} run",
        expected="every pod Running and ready, or done",
        cause="A component of the cluster has not started; the reason stands beside its name.",
        fix=(
            _JUST_STARTED + "kubectl -n {namespace} describe pod, and kubectl -n {namespace} logs, "
            "for the pod named above. For images that cannot be pulled, import them or make the registry reachable. "
            "A taint that no pod tolerates goes with kubectl taint node NODE KEY-, and out of what sets it."
        ),
    ),
    Entry(
        id="K8S-29",
        title="The user of the kubeconfig may install Flyte",
        expected="the rights to make all objects of the chart, and those that it gives to Flyte",
        cause=(
            "The user lacks rights; Helm would stop in the middle of the installation. Nobody may grant a right that "
            "he has not himself, so the user needs those of Flyte's ClusterRole, too."
        ),
        fix="Have an administrator grant the rights named above, or install with a kubeconfig of an administrator.",
    ),
    Entry(
        id="K8S-30",
        title="Namespace {namespace} admits pods like Flyte's",
        expected="pod security level privileged or baseline",
        cause=(
            "The namespace's pod security level, or the cluster's default, is restricted. The pods of Flyte's chart "
            "and of tasks do not say all that this level asks for, and would never start."
        ),
        fix=(
            "kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=baseline --overwrite, or set the "
            "security contexts in the chart's values and in the pod template of tasks."
        ),
        reference="https://kubernetes.io/docs/concepts/security/pod-security-standards/",
    ),
    Entry(
        id="K8S-31",
        title="One node has room for the largest task",
        expected="a node that gives {task_cpu} cores and {task_memory} to pods",
        cause="A pod runs on one node. Where none is large enough, the task waits forever, however many there are.",
        fix="Add a larger node, uncordon one that is out of use, or lower what tasks may ask (task_resources).",
        reference="https://github.com/flyteorg/flyte/issues/2933",
    ),
    Entry(
        id="K8S-32",
        title="The quota of namespace {namespace} leaves room for Flyte's pods",
        expected="a ResourceQuota and LimitRange that a pod of 100m CPU and 256Mi of memory fits into",
        cause="A ResourceQuota is used up or too small, or a LimitRange refuses the pod's size.",
        fix="kubectl -n {namespace} describe resourcequota,limitrange; then raise what is named above.",
        reference="https://github.com/flyteorg/flyte/issues/6226",
    ),
    Entry(
        id="K8S-33",
        title="No policy of the cluster refuses Flyte's pods in namespace {namespace}",
        expected="a pod that is admitted",
        cause="An admission webhook or policy of the cluster (Kyverno, Gatekeeper and the like) refuses the pod.",
        fix="Have the owner of the policy named above exempt namespace {namespace}, or meet what it asks for.",
    ),
    Entry(
        id="K8S-34",
        title="The controller of ingress class {ingress_class} runs",
        expected="a pod of the controller that is Running and ready",
        cause=(
            "The class is there, and no controller that serves it: its pods do not run, have other labels than its "
            "chart's, or lie outside this cluster."
        ),
        fix=(
            "kubectl get pods -A -l app.kubernetes.io/name shows them; kubectl describe pod says why one does not "
            "start. For a site's own, run the playbook flyte.onprem.ingress."
        ),
    ),
    Entry(
        id="K8S-40",
        title="A pod runs in namespace {namespace}",
        expected="a pod of image {image} that has done its work within {pod_timeout} seconds",
        cause=(
            "The image cannot be pulled or has no python3, no node has room, or the container runtime does not start "
            "it; the reason stands above."
        ),
        fix=(
            "For an image that cannot be pulled, import it or make its registry reachable, or name another with "
            "python3 as pod_image. Otherwise look at the nodes: kubectl describe nodes."
        ),
    ),
    Entry(
        id="K8S-41",
        title="Pods resolve {host}",
        expected="an address for {host} from the cluster's DNS",
        cause=(
            "The cluster's DNS does not know the name, though this machine may: pods do not see the /etc/hosts of "
            "hosts. Or CoreDNS does not run."
        ),
        fix=(
            "Add a record for {host} to the DNS that CoreDNS forwards to, or a hosts block to the ConfigMap "
            "coredns-custom in kube-system; role k3s does that for k3s_cluster_dns_hosts."
        ),
    ),
    Entry(
        id="K8S-42",
        title="Pods can connect to {endpoint}",
        expected="an open TCP port",
        cause=(
            "The host answers pods and refuses: the service does not run, listens on another port or on loopback only, "
            "or a firewall rejects the pods' network."
        ),
        fix="Start the service, let it listen on the host's address, and open its port to the network of the pods.",
    ),
    Entry(
        id="K8S-43",
        title="There is a way from pods to {endpoint}",
        expected="a connection within {timeout} seconds",
        cause=(
            "Packets from pods are lost: a NetworkPolicy or firewall drops them, or there is no route back to the "
            "network of the pods."
        ),
        fix=(
            "Look at kubectl get networkpolicies -A, at the firewall of the service's host for the pods' network, and "
            "at the addresses that the name has in the cluster."
        ),
    ),
    Entry(
        id="K8S-44",
        title="The registry {endpoint} can be reached",
        expected="a connection within {timeout} seconds",
        cause=(
            "Images are pulled from this registry, and a pod cannot reach it: there is no internet, no DNS for it, or "
            "a proxy is needed that only the container runtime knows."
        ),
        fix=(
            "Let the nodes reach the registry, name a mirror of it in k3s_registries, or install from a bundle "
            "(site_bundle), which brings all images."
        ),
    ),
    Entry(
        id="K8S-45",
        title="The pod of this check is gone from namespace {namespace}",
        expected="no pod of a check",
        cause="The API server did not delete the pod when it was asked to.",
        fix=(
            "kubectl -n {namespace} delete pod -l app.kubernetes.io/component=kubernetes-check; Kubernetes itself "
            "stops it at its deadline."
        ),
    ),
)

# Context of the entries for Flyte: {endpoint} and {host} of its address, {timeout}, {http_port}, {project},
# {namespace}, {release}, {crd}, {task_secret}, {images}.
FLYTE = (
    Entry(
        id="FLYTE-10",
        title="The name {host} resolves",
        expected="an address for {host}",
        cause=(
            "The DNS of the machine that asks does not know Flyte's host name; Flyte's users will not find it either."
        ),
        fix=(
            "Add a DNS record for {host}, an entry in the users' /etc/hosts, or give its address in the option resolve."
        ),
    ),
    Entry(
        id="FLYTE-11",
        title="There is a way to {endpoint}",
        expected="a connection within {timeout} seconds",
        cause="Packets are lost or have no route: the host is off, the address is wrong, or a firewall drops them.",
        fix="Check the address, that the host is up, the route to it, and firewalls on the way.",
    ),
    Entry(
        id="FLYTE-12",
        title="{endpoint} accepts connections",
        expected="an open TCP port",
        cause="The host answers, but no ingress controller listens on this port, or a firewall rejects.",
        fix=(
            _JUST_STARTED
            + "Look at the ingress controller's pod and Service (kubectl get pods,services -A), and open the port in "
            "the firewall."
        ),
    ),
    Entry(
        id="FLYTE-13",
        title="The ingress at {endpoint} has a route to Flyte",
        expected="a route for host {host} and Flyte's paths",
        cause=(
            "The ingress controller answers, but knows no such host or path: the Ingress is missing, of another "
            "class, or for another host name."
        ),
        fix=(
            _JUST_STARTED
            + "Compare host and class of the Ingress (kubectl get ingress -A) with the address above; the playbook "
            "flyte.onprem.flyte writes them. Traefik without the right to read nodes loads no route at all."
        ),
    ),
    Entry(
        id="FLYTE-14",
        title="Flyte answers behind the ingress at {endpoint}",
        expected="an answer of Flyte's own",
        cause=(
            "The ingress controller has the route, but no pod of Flyte behind it answers, or only that pod's gateway: "
            "Flyte starts or stops."
        ),
        fix=(
            _JUST_STARTED
            + "Look at Flyte's pod: kubectl -n {namespace} get pods; kubectl -n {namespace} logs deployment/{release}. "
            "It does not start without its database."
        ),
    ),
    Entry(
        id="FLYTE-15",
        title="Flyte at {endpoint} is healthy",
        expected="HTTP 200 from /healthcheck",
        cause="Flyte, or something in its place, answers its health check with an error.",
        fix=_JUST_STARTED + "Look at the log of Flyte's pod, and whether the address is that of Flyte.",
    ),
    Entry(
        id="FLYTE-16",
        title="Flyte tells its version",
        expected="an answer from /api/v1/version",
        cause="Flyte's HTTP interface does not answer as it should, though its health check does.",
        fix="Look at the log of Flyte's pod.",
    ),
    Entry(
        id="FLYTE-17",
        title="Flyte lists project {project}",
        expected="project {project} among those that Flyte lists",
        cause="Flyte cannot read its database, or the project was never made.",
        fix=(
            "Look at the log of Flyte's pod; make the project with flytectl create project, or list it among the "
            "seed projects of the chart."
        ),
    ),
    Entry(
        id="FLYTE-18",
        title="Plain HTTP on port {http_port} leads to HTTPS",
        expected="a redirect to https://{host}",
        cause="Nothing listens on the HTTP port, or the ingress controller serves Flyte there without TLS.",
        fix=(
            "Let the ingress controller redirect its HTTP entry point to HTTPS; the playbook flyte.onprem.ingress "
            "sets it for Traefik."
        ),
    ),
    Entry(
        id="FLYTE-19",
        title="{endpoint} answers HTTP",
        expected="an answer within {timeout} seconds",
        cause="The connection stands and no answer comes: Flyte or the ingress controller hangs or is overloaded.",
        fix="Look at load, memory and logs of the ingress controller's pod and of Flyte's.",
    ),
    Entry(
        id="FLYTE-20",
        title="Flyte's gRPC interface at {endpoint} is healthy",
        expected="SERVING from grpc.health.v1.Health over TLS",
        cause="gRPC, which pyflyte and flytectl use, does not work through this address, though HTTP may.",
        fix="Look at the log of Flyte's pod and of the ingress controller for the call.",
    ),
    Entry(
        id="FLYTE-21",
        title="The ingress at {endpoint} has a route for gRPC",
        expected="a route for /grpc.health.v1.Health and /flyteidl.service.*",
        cause="The Ingress for gRPC is missing, or does not name all of Flyte's services.",
        fix=(
            "Install the chart with ingress.create and separateGrpcIngress true, and compare its gRPC Ingress with "
            "the address above."
        ),
    ),
    Entry(
        id="FLYTE-22",
        title="Flyte's gRPC interface tells its version",
        expected="an answer from AdminService/GetVersion",
        cause=(
            "The health service answers and Flyte's own service does not: the ingress does not route all of Flyte's "
            "services alike."
        ),
        fix=(
            "Compare the paths of the gRPC Ingress with those of the chart: /flyteidl.service.AdminService and its "
            "neighbours."
        ),
    ),
    Entry(
        id="FLYTE-23",
        title="Flyte hands out a signed URL for uploads",
        expected="a URL from /api/v1/dataproxy/artifact_urn",
        cause=(
            "Flyte cannot sign: its object store's endpoint, region or keys are not configured, or the domain is "
            "unknown."
        ),
        fix="Look at the log of Flyte's pod, and at storage and signedURL in its configuration.",
    ),
    Entry(
        id="FLYTE-24",
        title="An upload to {endpoint} with Flyte's signed URL works",
        expected="5 MiB accepted",
        cause="pyflyte uploads code this way; the store or a proxy before it refused what Flyte had signed.",
        fix=(
            "Compare storage.signedURL in Flyte's configuration with the store's public address, and run "
            "s3_bucket_check with Flyte's keys."
        ),
        reference="https://github.com/flyteorg/flyte/issues/5663",
    ),
    Entry(
        id="FLYTE-25",
        title="{endpoint} is Flyte's own address",
        expected="an answer of Flyte's, and no redirect to another address",
        cause=(
            "The address is not the one that users have: plain HTTP, which only leads to HTTPS, or http:// before a "
            "port that speaks TLS."
        ),
        fix="Give the address that it leads to as url, with https:// and, unless it is 443, the port.",
    ),
    Entry(
        id="FLYTE-26",
        title="Flyte at {endpoint} tells clients how to log in, or that they need not",
        expected=(
            "from /.well-known/oauth-authorization-server and /config/v1/flyte_client either 501 (no login), or the "
            "addresses of the login, to everybody"
        ),
        cause=(
            "pyflyte and flytectl ask there before anything else. The ingress does not route these paths (404), a "
            "proxy asks for a login before it lets anyone read how to log in, or Flyte's configuration is not complete."
        ),
        fix=(
            "Route /.well-known and /config to Flyte as the chart's Ingress does, let a proxy that authenticates pass "
            "them, and set configuration.auth in the chart's values as a whole: issuer, authorization and token "
            "endpoints are https addresses."
        ),
        reference="https://github.com/flyteorg/flyte/issues/2606",
    ),
    Entry(
        id="FLYTE-27",
        title="Flyte 2 knows its own address {endpoint}",
        expected="{endpoint} from ClusterService/SelectCluster",
        cause=(
            "Flyte hands clients the address by which it was asked, and a proxy does not tell it: X-Forwarded-Proto or "
            "the Host header is dropped or rewritten on the way."
        ),
        fix="Let every proxy before Flyte pass the Host header through and set X-Forwarded-Proto to https.",
    ),
    Entry(
        id="FLYTE-28",
        title="Flyte hands out a signed URL for downloads",
        expected="a URL from /api/v1/dataproxy/artifact_urn for the object that was uploaded",
        cause="Flyte signs uploads and not downloads; the console and clients fetch inputs and outputs by these.",
        fix="Look at the log of Flyte's pod, and at storage and signedURL in its configuration.",
    ),
    Entry(
        id="FLYTE-29",
        title="What was uploaded comes back from {endpoint} with Flyte's signed URL",
        expected="the same 5 MiB",
        cause="What lies before the store changes its answers or cuts them short.",
        fix="Ask the store past every proxy: run s3_bucket_check with the store's own address.",
    ),
    Entry(
        id="FLYTE-30",
        title="The pods of release {release} in namespace {namespace} run",
        expected="every pod Running and ready",
        cause="Flyte has not started; the reason stands beside the pod's name.",
        fix=(
            _JUST_STARTED
            + "kubectl -n {namespace} logs deployment/{release} --all-containers; a pod that starts again and again "
            "most often cannot reach or use its database."
        ),
    ),
    Entry(
        id="FLYTE-31",
        title="The custom resource definition {crd} is there",
        expected="{crd}",
        cause=(
            "Flyte 1 makes it when it starts, with createCRDs; Flyte 2's goes away when the chart is installed again "
            "too soon after it was uninstalled. Without it no run goes on."
        ),
        fix="Flyte 1: restart Flyte's pod and look at its log. Flyte 2: helm upgrade with the same values.",
    ),
    Entry(
        id="FLYTE-32",
        title="Every project has its namespaces",
        expected="one namespace for each project and domain",
        cause=(
            "Flyte makes them every few minutes from its cluster resource templates; without a template for the "
            "namespace it makes none, silently."
        ),
        fix=(
            "Wait for cluster_resources.refreshInterval; then look whether clusterResourceTemplates holds a "
            "namespace template, and at the log of Flyte's pod. One that somebody deleted comes back only after "
            "kubectl -n {namespace} rollout restart deployment/{release}."
        ),
    ),
    Entry(
        id="S3-02",
        title="Tasks have the keys of the object store",
        expected="Secret {task_secret} with its keys in the namespace of every project and domain",
        cause=(
            "Flyte's own storage settings do not reach task pods. Without the Secret they start all the same, and "
            "fail with 'Unable to locate credentials'."
        ),
        fix=(
            "Run the playbook flyte.onprem.flyte again. A Secret that somebody deleted comes back only after "
            "kubectl -n {namespace} rollout restart deployment/{release}; otherwise look at the log of Flyte's pod."
        ),
        reference="https://github.com/flyteorg/flyte/issues/6415",
    ),
    Entry(
        id="FLYTE-33",
        title="Flyte's webhook is registered",
        expected="a MutatingWebhookConfiguration that leads to a Service in namespace {namespace}",
        cause="The webhook gives pods their secrets; it registers itself when Flyte starts, and has not.",
        fix=(
            "Look whether flyte-core-components.propeller.disableWebhook is set, and at the log of Flyte's pod; then "
            "restart it."
        ),
    ),
    Entry(
        id="FLYTE-34",
        title="No webhook of an uninstalled Flyte is left",
        expected="a Service behind every webhook of Flyte",
        cause=(
            "Helm does not remove the webhook's configuration. With its Service gone, every pod that asks for a "
            "secret is refused, in the whole cluster."
        ),
        fix=(
            "kubectl delete mutatingwebhookconfiguration with the name above; the playbook flyte.onprem.uninstall "
            "does it for the site's own."
        ),
    ),
    Entry(
        id="FLYTE-35",
        title="The pods of release {release} run the images that were chosen",
        expected="{images}",
        cause=(
            "Somebody has changed the Deployment, the chart was installed with other values, or an image has no tag or "
            "the tag latest, so that each restart may bring another version."
        ),
        fix=(
            "Run the playbook flyte.onprem.flyte again, or set deployment.image and deployment.waitForDB.image in the "
            "chart's values to the versions that you mean."
        ),
        reference="https://github.com/flyteorg/flyte/issues/2792",
    ),
    Entry(
        id="FLYTE-36",
        title="The API server reaches Flyte's webhook",
        expected="a pod that asks for a secret is admitted",
        cause=(
            "The webhook's configuration and certificate are right, and it does not answer the API server: Flyte's pod "
            "does not serve it (yet), or a NetworkPolicy or firewall closes its port to the API server."
        ),
        fix=(
            _JUST_STARTED + "Look at the log of Flyte's pod for the webhook, and let the API server's hosts reach port "
            "9443 of Flyte's pod."
        ),
    ),
    Entry(
        id="TLS-02",
        title="The certificate of Flyte's webhook is valid and trusted",
        expected="a certificate valid now and for 14 more days, from the CA in the webhook's configuration",
        cause=(
            "Pods that ask for secrets are refused, or get none, when the webhook's certificate has expired or the "
            "API server trusts another CA."
        ),
        fix=(
            "Delete the Secret named above and restart Flyte's pod: kubectl -n {namespace} rollout restart "
            "deployment/{release}."
        ),
        reference="https://github.com/flyteorg/flyte/issues/3379",
    ),
    Entry(
        id="ING-01",
        title="The ingress at {endpoint} speaks HTTP/2 to Flyte's gRPC port",
        expected="gRPC answered through the ingress",
        cause="The ingress controller speaks HTTP/1.1 to the gRPC port, since nothing tells it otherwise.",
        fix=(
            "Traefik: service.grpcAnnotations {{traefik.ingress.kubernetes.io/service.serversscheme: h2c}}, with "
            "separateGrpcIngress true. It counts within seconds."
        ),
        reference="https://github.com/flyteorg/flyte/issues/4962",
    ),
    Entry(
        id="ING-02",
        title="{endpoint} accepts HTTP/2 from clients",
        expected="gRPC over TLS, HTTP/2 agreed upon",
        cause=(
            "The ingress controller answered gRPC as HTTP/1.1: HTTP/2 is off, or a proxy before it does not pass it "
            "on. NGINX speaks it on its TLS port only."
        ),
        fix=(
            "Enable HTTP/2 on the TLS port of the ingress controller and of proxies before it, and let clients use "
            "TLS (insecure: false)."
        ),
        reference="https://github.com/flyteorg/flyte/issues/3330",
    ),
    Entry(
        id="ING-04",
        title="The ingress at {endpoint} routes all services of Flyte 2",
        expected="an answer of Flyte's own from every service",
        cause=(
            "The chart's Ingress lists the paths of services one by one, and lacks some. Clients see 404, runs have no "
            "logs, or 'SelectCluster failed'."
        ),
        fix="Give Flyte an Ingress of its own with the one prefix /flyteidl2., or add the paths named above.",
        reference="https://github.com/flyteorg/flyte/pull/7484",
    ),
)

# Context of the entries for a workflow that runs: {project}, {task_namespace}, {task_secret}, {task_template}, {image},
# {namespace}, {release}, {host}, {run_timeout}.
WORKFLOW = (
    Entry(
        id="FLYTE-60",
        title="A workflow of two tasks runs in project {project}",
        expected="SUCCEEDED with the right output within {run_timeout} seconds",
        cause="It had not ended when the time was up, or ended otherwise than it should; what was seen is above.",
        fix=(
            "Look at the execution in the console, and at its pods: kubectl -n {task_namespace} get pods,events. On a "
            "slow host give it more time (flyte_verify_timeout)."
        ),
    ),
    Entry(
        id="FLYTE-61",
        title="Flyte makes or opens project {project}",
        expected="a project for the workflow of this check",
        cause="Flyte refuses the project: its name is not fit for Kubernetes, or its database cannot be written to.",
        fix="Look at the log of Flyte's pod, or choose another name (flyte_verify_project).",
    ),
    Entry(
        id="FLYTE-62",
        title="Namespace {task_namespace} has the PodTemplate of tasks",
        expected="PodTemplate {task_template}",
        cause=(
            "Without it tasks start without the site's certificates. Flyte makes it from its cluster resource "
            "templates, if it may, and does not make again what somebody deleted."
        ),
        fix=(
            "kubectl -n {namespace} rollout restart deployment/{release} makes Flyte look anew; if it stays away, run "
            "the playbook flyte.onprem.flyte, which brings the template and the right to make it."
        ),
    ),
    Entry(
        id="FLYTE-63",
        title="The code of the tasks can be uploaded",
        expected="an upload with Flyte's signed URL accepted",
        cause="pyflyte uploads code this way; the store or a proxy before it refused what Flyte had signed.",
        fix=(
            "Compare storage.signedURL in Flyte's configuration with the store's public address, and run "
            "s3_bucket_check with Flyte's keys."
        ),
    ),
    Entry(
        id="FLYTE-64",
        title="Flyte registers tasks, workflow and launch plan",
        expected="accepted, or known already",
        cause="Flyte refuses them, or could not write them to its bucket or database; its words are above.",
        fix="Look at the log of Flyte's pod.",
    ),
    Entry(
        id="FLYTE-65",
        title="The check has cleaned up after itself",
        expected="no execution that runs, no FlyteWorkflow object and no pod of it",
        cause="Flyte or the cluster did not remove what the workflow had made.",
        fix=(
            "kubectl -n {task_namespace} delete flyteworkflows --all; if they stay, Flyte's controller does not run: "
            "look at the log of Flyte's pod."
        ),
    ),
    Entry(
        id="FLYTE-70",
        title="The image of a task is found",
        expected="{image} on the node or in its registry",
        cause="The image is not on the node, and the registry has no image of that name and tag.",
        fix=(
            "Correct the image's name or push it to the registry; without internet, make a bundle that holds it, or "
            "import it on each node: k3s ctr images import FILE."
        ),
        reference="https://github.com/flyteorg/flyte/issues/2792",
    ),
    Entry(
        id="FLYTE-71",
        title="Nodes reach the registry of a task's image",
        expected="{image} on the node, or its registry reachable from there",
        cause="The image is not on the node, and the registry's name or address cannot be reached from it.",
        fix=(
            "Without internet, bring the image along: in the bundle, or k3s ctr images import FILE on each node. "
            "Otherwise give the node a way to the registry: DNS, route, proxy, or a mirror in k3s_registries."
        ),
    ),
    Entry(
        id="FLYTE-72",
        title="Images that are on the node are not pulled",
        expected="imagePullPolicy IfNotPresent in the pods of tasks",
        cause=(
            "The API server fills in the policy Always for the untagged placeholder in a PodTemplate without a policy, "
            "and for tags called latest; Flyte hands it on to every task, and no registry has a side-loaded image."
        ),
        fix=(
            "Set imagePullPolicy: IfNotPresent in PodTemplate {task_template} of namespace {task_namespace} (the "
            "playbook flyte.onprem.flyte does), and give images a tag other than latest."
        ),
    ),
    Entry(
        id="FLYTE-73",
        title="The registry hands out a task's image",
        expected="{image} from its registry, with or without credentials",
        cause="The registry wants credentials that the node does not have, or hides that there is no such image.",
        fix=(
            "Give the nodes credentials in k3s_registries, or the service account of the tasks' namespace an "
            "imagePullSecret, and look whether name and tag are right."
        ),
        reference="https://github.com/flyteorg/flyte/issues/2624",
    ),
    Entry(
        id="FLYTE-74",
        title="Nodes trust the certificate of a task's registry",
        expected="a registry whose certificate the node trusts",
        cause="The registry's certificate is from an authority that the node's container runtime does not know.",
        fix="Name the authority in k3s_registries (configs, tls, ca_file), or install it on the nodes.",
    ),
    Entry(
        id="FLYTE-75",
        title="The pod of a task can be started",
        expected="a pod whose Secrets, ConfigMaps and volumes are there",
        cause="The pod names something that its namespace lacks, or the node cannot set it up; see above.",
        fix=(
            "Make the object that is named above in namespace {task_namespace}, or take it out of PodTemplate "
            "{task_template}."
        ),
    ),
    Entry(
        id="FLYTE-76",
        title="The object store accepts the keys of tasks",
        expected="the right keys in Secret {task_secret} of namespace {task_namespace}",
        cause=(
            "The keys in the Secret are not those of the store's user: changed there and not here, or written by hand."
        ),
        fix=(
            "Run the playbook flyte.onprem.flyte, which sets them in every project within a minute. A Secret that "
            "somebody changed Flyte mends at its start only: kubectl -n {namespace} rollout restart "
            "deployment/{release}."
        ),
    ),
    Entry(
        id="FLYTE-77",
        title="The object store accepts Flyte's own keys",
        expected="the right keys in the Secret that Flyte's storage settings come from",
        cause="Flyte was started with keys that the store does not know any more; it reads them at its start only.",
        fix="Run flyte.onprem.backends and flyte.onprem.flyte, which give store and Flyte the same keys.",
    ),
    Entry(
        id="FLYTE-78",
        title="Tasks trust the certificate of the object store",
        expected="the site's authority in the pods of tasks, and AWS_CA_BUNDLE that names it",
        cause=(
            "The task's pod lacks the authority: ConfigMap or PodTemplate is missing in its namespace, or the task has "
            "a PodTemplate of its own that does not mount it."
        ),
        fix=(
            "Compare PodTemplate {task_template} and its ConfigMap in namespace {task_namespace} with those of another "
            "project. Flyte does not make again what somebody deleted until it is restarted: kubectl -n {namespace} "
            "rollout restart deployment/{release}."
        ),
        reference="https://github.com/fsspec/s3fs/issues/342",
    ),
    Entry(
        id="FLYTE-79",
        title="Flyte's pod trusts the certificate of the object store",
        expected="SSL_CERT_DIR with the site's authority on Flyte's container",
        cause="Flyte's own pod lacks the authority of the store's certificate, or has an old one.",
        fix="Run the playbook flyte.onprem.flyte, which hands it the authority and restarts it.",
    ),
    Entry(
        id="FLYTE-80",
        title="Pods resolve the name {host}",
        expected="an address for {host} from the cluster's DNS",
        cause="Pods ask the cluster's DNS, which knows neither the site's names nor the nodes' /etc/hosts by itself.",
        fix=(
            "Add {host} to k3s_cluster_dns_hosts and run flyte.onprem.cluster, or to the DNS of the network; "
            "kubectl -n kube-system get configmap coredns-custom shows what pods know."
        ),
    ),
    Entry(
        id="FLYTE-81",
        title="Pods reach {host}",
        expected="a connection from pods to {host}",
        cause="The name resolves, but nothing listens there, or a firewall lets nothing from pods through.",
        fix="Start the object store, correct the port in its endpoint, or admit the pods' network in its firewall.",
    ),
    Entry(
        id="FLYTE-82",
        title="The quota of namespace {task_namespace} has room for a task",
        expected="a ResourceQuota and a LimitRange that let the tasks in",
        cause="The namespace's ResourceQuota or LimitRange admits less than a task asks for; see above.",
        fix=(
            "Raise it (kubectl -n {task_namespace} get resourcequota,limitrange), wait for other tasks to end, or let "
            "tasks ask for less (flyte_task_resources)."
        ),
        reference="https://github.com/flyteorg/flyte/issues/2933",
    ),
    Entry(
        id="FLYTE-83",
        title="A node takes the pods of tasks",
        expected="a node with room for a task, and without a taint against it",
        cause="No node has the CPU or memory that a task asks for, or those that have it keep its pods away.",
        fix=(
            "Let tasks ask for less (flyte_task_resources), add a node, or wait for other tasks to end; for taints, "
            "kubectl describe nodes."
        ),
        reference="https://github.com/flyteorg/flyte/issues/6226",
    ),
    Entry(
        id="FLYTE-84",
        title="The site's limits admit a task",
        expected="requests and limits of a task below those of the site",
        cause="A task asks for more than the site's task_resources.limits, and Flyte refuses to register it.",
        fix="Raise flyte_task_resources limits, or let the task ask for less.",
    ),
    Entry(
        id="FLYTE-85",
        title="Tasks have the CPU to start in time",
        expected="half a CPU or more for each task",
        cause="With a tenth of a CPU the start of Python alone takes a minute, and longer on a small host.",
        fix="Raise cpu in flyte_task_resources defaults to 500m or more.",
    ),
    Entry(
        id="FLYTE-86",
        title="Tasks have the memory that they need",
        expected="a memory limit that Python and flytekit fit into",
        cause="The kernel killed the task at its memory limit.",
        fix="Raise memory in flyte_task_resources defaults (500Mi is enough for a small task), or in the task.",
    ),
    Entry(
        id="FLYTE-87",
        title="Webhooks admit the pods of tasks",
        expected="an answer from every webhook that sees the pod",
        cause="A webhook does not answer or refuses the pod; while it does, the API server makes no such pod.",
        fix=(
            "For Flyte's own webhook restart Flyte's pod (kubectl -n {namespace} rollout restart "
            "deployment/{release}); for another, mend or remove its configuration: kubectl get "
            "mutatingwebhookconfigurations,validatingwebhookconfigurations."
        ),
        reference="https://github.com/flyteorg/flyte/issues/4050",
    ),
    Entry(
        id="FLYTE-88",
        title="Flyte's controller takes up executions",
        expected="an execution that is queued within seconds",
        cause=(
            "Flyte accepts executions, but its controller (propeller) does not run: disabled in its configuration, "
            "stopped, or without the right to see FlyteWorkflow objects."
        ),
        fix=(
            "Look whether flyte-core-components.propeller.disabled is set, and at the log of Flyte's pod: kubectl -n "
            "{namespace} logs deployment/{release}; then restart it."
        ),
    ),
    Entry(
        id="FLYTE-89",
        title="The tasks do their work",
        expected="no error of a task's own",
        cause="The task failed by itself, for a reason that this check does not know.",
        fix="Read the whole text above; its last lines say most. There may be more in the log of the task's pod.",
    ),
)

CATALOGUE = {entry.id: entry for entry in (*TLS, *S3, *DATABASE, *CLUSTER, *FLYTE, *WORKFLOW)}
