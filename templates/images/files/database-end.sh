# Runs as root, after database.sh.
kill "$server"
wait "$server" || :
rm -rf /run/mysqld /run/mariadb
# It starts with the node, beside everything else, and is ready by the time that slurmdbd asks for it.
systemctl enable mariadb.service
