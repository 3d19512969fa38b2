# Runs as root, last, in the image of the controller.

# They start once they have their configuration.
systemctl disable slurmctld.service slurmdbd.service
install -d -o slurm -g slurm -m 0755 /var/lib/slurm /var/lib/slurm/slurmctld

# Debian's names a pattern of files, which can't be sent to the nodes; every start would complain about it.
: > /etc/slurm/plugstack.conf

# The database that accounting needs is made here, tables included, because that takes seconds which every first start would wait for.
# It holds nothing of any cluster, and no password: it knows slurmdbd by the user that it runs as.
groupadd --system mysql
useradd --system --gid mysql --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin mysql
install -d -o mysql -g mysql -m 0700 /var/lib/mysql
install -d -o mysql -g mysql -m 0755 /run/mysqld
mariadb-install-db --user=mysql --auth-root-authentication-method=socket --skip-test-db >/dev/null
mariadbd --user=mysql &
server=$!
until mariadb -e 'SELECT 1' >/dev/null 2>&1; do
    kill -0 "$server"
    sleep 0.1
done
mariadb <<'END'
CREATE DATABASE slurm_acct_db;
CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;
GRANT ALL ON slurm_acct_db.* TO slurm@localhost;
END
# slurmdbd makes its tables when it starts. A key that is used nowhere else lets it.
install -d -o munge -g munge -m 0755 /run/munge
install -o munge -g munge -m 0400 /dev/null /etc/munge/munge.key
head -c 128 /dev/urandom > /etc/munge/munge.key
setpriv --reuid=munge --regid=munge --clear-groups munged --foreground &
munged=$!
install -o slurm -g slurm -m 0600 /dev/null /etc/slurm/slurmdbd.conf
# The network is that of the machine that builds, where the usual port may be another's.
cat > /etc/slurm/slurmdbd.conf <<END
AuthType=auth/munge
SlurmUser=slurm
DbdHost=localhost
DbdPort=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 10000))
PidFile=/tmp/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
END
setpriv --reuid=slurm --regid=slurm --clear-groups slurmdbd -D 2>/tmp/slurmdbd.log &
slurmdbd=$!
until grep -q ' started$' /tmp/slurmdbd.log; do
    kill -0 "$slurmdbd" || { cat /tmp/slurmdbd.log; exit 1; }
    sleep 0.1
done
kill "$slurmdbd"
wait "$slurmdbd" || :
kill "$munged" "$server"
wait "$munged" || :
wait "$server" || :
rm -f /etc/slurm/slurmdbd.conf /etc/munge/munge.key /var/lib/munge/munged.seed /tmp/slurmdbd.*
rm -rf /run/mysqld /run/munge
# It starts with the node, beside everything else, and is ready by the time that slurmdbd asks for it.
systemctl enable mariadb.service

# As in the common image: these packages are newer than the note that caches are up to date.
touch /etc/.updated /var/.updated
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt
