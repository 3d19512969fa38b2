# Runs as root, while the database that database.sh has made runs: with its tables, no first start has to make them.
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
kill "$munged"
wait "$munged" || :
rm -f /etc/slurm/slurmdbd.conf /etc/munge/munge.key /var/lib/munge/munged.seed /tmp/slurmdbd.*
rm -rf /run/munge
