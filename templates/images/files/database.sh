# Runs as root, in the image of the controller: the database that accounting needs is made here, because that takes seconds which every
# first start would wait for. It holds nothing of any cluster, and no password: it knows slurmdbd by the user that it runs as. It runs until
# database-end.sh.
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
