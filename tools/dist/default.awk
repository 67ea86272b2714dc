# Makes /etc/default/dflockd of the tables of tools/man/flags.awk: every variable, as a comment.
END {
    print "# Options of the lock server, read by dflockd.service. Take the # off those that you set, then:"
    print "# systemctl restart dflockd. What stands here is the server's default; of its own the unit sets"
    print "# DFLOCKD_FENCE_STATE_FILE, so that fences rise over restarts. See dflockd(8)."
    for (i = 1; i <= flag_count[""]; i++) {
        at = "" SUBSEP flags["", i]
        if (variable[at] == "" || text[at] ~ /^Not supported/)
            continue
        print ""
        print "# " text[at]
        print "#" variable[at] "=" initial[at]
    }
}
